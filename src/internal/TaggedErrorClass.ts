/**
 * The base of the errors of this package.
 *
 * @module
 */
import { type Cause, Data } from "effect"
import { jsonOf } from "./json.ts"

/**
 * The type of a class made by `Data.TaggedError`. It is explicit because JSR does not publish inferred superclasses.
 */
export interface TaggedErrorClass<Tag extends string, Fields> {
  new (fields: Fields): Cause.YieldableError & { readonly _tag: Tag } & Readonly<Fields>
}

/** A `Data.TaggedError` that `JSON.stringify` can write, whatever its fields hold, with its message. */
export const TaggedErrorClass = <Tag extends string, Fields>(
  tag: Tag
): TaggedErrorClass<Tag, Fields> =>
  class extends Data.TaggedError(tag)<Record<string, unknown>> {
    override toJSON(): unknown {
      const { cause, message } = this
      const fields: Readonly<Record<string, unknown>> = { ...this }
      return jsonOf({ _tag: tag, message, ...fields, ...(cause === undefined ? {} : { cause }) })
    }
  } as unknown as TaggedErrorClass<Tag, Fields>
