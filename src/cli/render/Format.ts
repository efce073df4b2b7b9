/**
 * The formats of rendered files.
 *
 * Instances come from etcd, where anyone with a role may have written them. A format checks everything against its own
 * syntax: it escapes text if the syntax can, and omits the instance otherwise.
 *
 * @module
 */
import { type Effect, Result } from "effect"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import type { RenderFailed } from "./errors.ts"

/** A service and its instances, prepared for writing. */
export interface Prepared {
  readonly name: string
  readonly set: InstanceSet
  /** Whether the section has no instances. */
  readonly isEmpty: boolean
  /** The ids of omitted instances, with the reasons. */
  readonly skipped: ReadonlyArray<string>
  /** The section of this service. */
  readonly section: string
}

/** How to write a file. */
export interface Format {
  /** Checks the names of the services. A failure is the broken rule. */
  readonly checkNames: (names: ReadonlyArray<string>) => Result.Result<void, string>
  readonly prepare: (name: string, set: InstanceSet) => Prepared
  /** Joins the sections to the whole file. */
  readonly join: (services: ReadonlyArray<Prepared>) => Effect.Effect<string, RenderFailed>
}

/** The first line in formats that have comments. */
export const notice = "# Written by etcd-discovery render, which overwrites changes."

/** Requires names that match a pattern. */
export const checkPattern =
  (pattern: RegExp, rule: string) => (names: ReadonlyArray<string>): Result.Result<void, string> => {
    const wrong = names.find((name) => !pattern.test(name))
    return wrong === undefined ? Result.void : Result.fail(`${JSON.stringify(wrong)} does not fit this format: ${rule}`)
  }

/** The text of an instance, or the reason to omit it. */
export type Entry = Result.Result<string, string>

/** Prepares a service whose instances are separate entries. */
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
