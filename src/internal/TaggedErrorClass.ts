import type { Cause } from "effect"

/**
 * The type of a class made by `Data.TaggedError`. It is explicit because JSR does not publish inferred superclasses.
 */
export interface TaggedErrorClass<Tag extends string, Fields> {
  new (fields: Fields): Cause.YieldableError & { readonly _tag: Tag } & Readonly<Fields>
}
