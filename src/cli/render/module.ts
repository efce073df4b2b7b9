/**
 * Formats written by users: modules whose default export returns the text.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import { RenderFailed } from "./errors.ts"
import type { Format } from "./Format.ts"

/** The default export of a module. */
export type RenderText = (
  services: ReadonlyArray<{ readonly name: string; readonly set: InstanceSet }>
) => string | PromiseLike<string>

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/** Loads a module. */
export const loadFormat = Effect.fnUntraced(function* (path: string): Effect.fn.Return<Format, RenderFailed> {
  const file = JSON.stringify(path)
  const loaded: unknown = yield* Effect.tryPromise({
    try: () => import(pathToFileURL(resolve(path)).href),
    catch: (cause) => new RenderFailed({ message: `cannot load ${file}: ${messageOf(cause)}.` })
  })
  const render = typeof loaded === "object" && loaded !== null && "default" in loaded ? loaded.default : undefined
  if (typeof render !== "function") {
    return yield* new RenderFailed({
      message: `cannot use ${file}: its default export must be a function from services to text.`
    })
  }
  return {
    checkNames: () => Result.void,
    prepare: (name, set) => ({ name, set, isEmpty: set.size === 0, skipped: [], section: "" }),
    join: (services) =>
      Effect.tryPromise({
        // A synchronous `render` may throw before there is a promise; the async function covers that.
        try: async () => await (render as RenderText)(services.map(({ name, set }) => ({ name, set }))),
        catch: (cause) => new RenderFailed({ message: `${file} failed: ${messageOf(cause)}.` })
      }).pipe(
        Effect.filterOrFail(
          (text) => typeof text === "string",
          () => new RenderFailed({ message: `${file} did not return text.` })
        )
      )
  }
})
