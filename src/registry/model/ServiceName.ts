/**
 * The names of services and the ids of instances, and their rules.
 *
 * @module
 */
import { Brand, Result } from "effect"

/** The name of a service, valid by {@link nameRule}. */
export type ServiceName = string & Brand.Brand<"ServiceName">

/** The id of an instance, unique within its service, valid by {@link nameRule}. */
export type InstanceId = string & Brand.Brand<"InstanceId">

/** The rule for service names and instance ids. */
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

/** A valid service name, or the rule that `text` breaks. */
export const serviceName = (text: string): Result.Result<ServiceName, string> =>
  isLegal(text) ? Result.succeed(nominalName(text)) : Result.fail(nameRule)

/** A valid instance id, or the rule that `text` breaks. */
export const instanceId = (text: string): Result.Result<InstanceId, string> =>
  isLegal(text) ? Result.succeed(nominalId(text)) : Result.fail(nameRule)
