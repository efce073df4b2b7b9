/**
 * Formats of rendered files.
 *
 * Everything in an instance comes from etcd, where anyone with a role may have written it. A format writes only what it
 * has checked against its own syntax: it escapes text where the syntax can, and leaves out an instance where it cannot.
 *
 * @module
 */
import { type Effect, Result } from "effect"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import type { RenderFailed } from "./errors.ts"

/** A service and its instances, ready to be written. */
export interface Prepared {
  readonly name: string
  readonly set: InstanceSet
  /** Whether no instance would be written. */
  readonly isEmpty: boolean
  /** The ids of instances that are left out, and why. */
  readonly skipped: ReadonlyArray<string>
  /** The text of this service. */
  readonly section: string
}

/** How a file is written. */
export interface Format {
  /** Why the names of services do not fit the format; a failure is the rule. */
  readonly checkNames: (names: ReadonlyArray<string>) => Result.Result<void, string>
  readonly prepare: (name: string, set: InstanceSet) => Prepared
  /** The whole text. */
  readonly join: (services: ReadonlyArray<Prepared>) => Effect.Effect<string, RenderFailed>
}

/** The first line of formats that have comments. */
export const notice = "# Written by etcd-discovery render. Changes are overwritten."

/** The names must match a pattern. */
export const checkPattern =
  (pattern: RegExp, rule: string) => (names: ReadonlyArray<string>): Result.Result<void, string> => {
    const wrong = names.find((name) => !pattern.test(name))
    return wrong === undefined ? Result.void : Result.fail(`${JSON.stringify(wrong)} does not fit this format: ${rule}`)
  }

/** An instance as text, or why it is left out. */
export type Entry = Result.Result<string, string>

/** Prepares a service of which each instance is an entry of its own. */
export const prepareEntries = (
  name: string,
  set: InstanceSet,
  entries: Iterable<readonly [id: string, Entry]>,
  section: (entries: ReadonlyArray<string>) => string
): Prepared => {
  const written: Array<string> = []
  const skipped: Array<string> = []
  for (const [id, entry] of entries) {
    if (Result.isSuccess(entry)) written.push(entry.success)
    else skipped.push(`${JSON.stringify(id)} (${entry.failure})`)
  }
  return { name, set, isEmpty: written.length === 0, skipped, section: section(written) }
}
