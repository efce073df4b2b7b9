/**
 * The names of services and the ids of instances, and which of them are legal.
 *
 * @module
 */
import { Brand, Result } from "effect"

/** The name of a service that keeps the rule of {@link nameRule}. */
export type ServiceName = string & Brand.Brand<"ServiceName">

/** The id of an instance, unique within its service, that keeps the rule of {@link nameRule}. */
export type InstanceId = string & Brand.Brand<"InstanceId">

/** What a service name and an instance id must look like. */
export const nameRule =
  "it must be 1 to 253 bytes of UTF-8, without '/' and control characters, and neither '.' nor '..'"

// deno-lint-ignore no-control-regex -- control characters are what it looks for
const illegal = /[/\u0000-\u001f\u007f-\u009f]/
const encoder = new TextEncoder()

const isLegal = (text: unknown): boolean =>
  typeof text === "string" && text.length > 0 && text !== "." && text !== ".." && !illegal.test(text) &&
  text.isWellFormed() &&
  (text.length <= 84 || (text.length <= 253 && encoder.encode(text).length <= 253))

const nominalName = Brand.nominal<ServiceName>()
const nominalId = Brand.nominal<InstanceId>()

/** A legal service name, or the rule that `text` breaks. */
export const serviceName = (text: string): Result.Result<ServiceName, string> =>
  isLegal(text) ? Result.succeed(nominalName(text)) : Result.fail(nameRule)

/** A legal instance id, or the rule that `text` breaks. */
export const instanceId = (text: string): Result.Result<InstanceId, string> =>
  isLegal(text) ? Result.succeed(nominalId(text)) : Result.fail(nameRule)
