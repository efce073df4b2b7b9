import type { Cause } from "effect"

/** The class that `Data.TaggedError` makes, written out: publishing wants no inferred superclass. */
export interface TaggedErrorClass<Tag extends string, Fields> {
  new (fields: Fields): Cause.YieldableError & { readonly _tag: Tag } & Readonly<Fields>
}
