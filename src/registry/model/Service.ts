/**
 * The definition of a service: its name and how its instances are written.
 *
 * @since 0.1.0
 * @module
 */
import { Result, Schema } from "effect"
import { checkOptions } from "../../internal/options.ts"
import * as Codec from "./Codec.ts"
import type { Labels } from "./Instance.ts"

export { type AnyCodec, type Codec, InvalidInstance, type JsonMembers, type MetadataSchema } from "./Codec.ts"
export type { Layout } from "./Layout.ts"

/**
 * A service of any metadata.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyService {
  /** 1 to 253 bytes without `/` and control characters, unless the format of the service has other rules. */
  readonly name: string
  /** Encodes its instances, and defines their keys. */
  readonly codec: Codec.AnyCodec
}

/**
 * A service by its name, with metadata of type `M` on each instance.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service<M = Labels> extends AnyService {
  readonly codec: Codec.Codec<M>
}

/**
 * A service as an argument: its name, or the value that {@link make} returns.
 *
 * @since 0.1.0
 * @category models
 */
export type ServiceLike = string | AnyService

/**
 * The metadata of a service: what its schema describes, or {@link Labels} if it is only a name.
 *
 * @since 0.1.0
 * @category utility types
 */
export type MetadataOf<S> = S extends { readonly codec: Codec.Codec<infer M> } ? M : Labels

/**
 * The options of {@link make}: a schema of the metadata, or a codec.
 *
 * **Details**
 *
 * The formats of other frameworks in `@effect-etcd/discovery/interop` are codecs.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Describes the metadata of an instance. Default: a record of strings. */
  readonly metadata?: Codec.MetadataSchema<unknown>
  /** Writes instances in a format of its own. It has its own metadata, so `metadata` is left out. */
  readonly codec?: Codec.AnyCodec
}

/**
 * The metadata that the options of {@link make} describe.
 *
 * @since 0.1.0
 * @category utility types
 */
export type MetadataIn<O> = O extends { readonly codec: Codec.Codec<infer M> } ? M :
  O extends { readonly metadata: Codec.MetadataSchema<infer M> } ? M :
  Labels

/**
 * Defines a service.
 *
 * **Details**
 *
 * An invalid name fails with `InvalidOption` where the service is used. Throws `InvalidOption` if `metadata` is no schema
 * or `codec` no codec.
 *
 * **Gotchas**
 *
 * Define a typed service once and share the value. `discover` shares one watch for each definition.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { Service } from "@effect-etcd/discovery"
 *
 * const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
 * Orders.name // "orders"
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <O extends Options = Record<never, never>>(name: string, options?: O): Service<MetadataIn<O>> => {
  const { codec, metadata } = checkOptionsOf(options ?? {})
  const written = codec ?? (metadata === undefined ? Codec.strings : Codec.json(metadata))
  // Sound: `MetadataIn` reads the type from this codec or schema.
  return { name, codec: written as Codec.Codec<MetadataIn<O>> }
}

const checkOptionsOf = ({ codec, metadata }: Options): Options =>
  Result.getOrThrow(checkOptions("Service.make", (check) => {
    if (metadata !== undefined && !Schema.isSchema(metadata)) {
      check.refuse("metadata", metadata, "it must be a schema, such as Schema.Struct({ region: Schema.String })")
    }
    if (codec === undefined) return metadata === undefined ? {} : { metadata }
    check.callback("codec.encode", codec?.encode)
    check.callback("codec.decode", codec?.decode)
    return { codec }
  }))

/**
 * A service as a value: a name stands for one whose metadata is a record of strings.
 *
 * @internal
 */
export const fromLike = <S extends ServiceLike>(service: S): Service<MetadataOf<S>> =>
  // Sound: `MetadataOf` reads the type from this codec. Any other value counts as a name, which the check of names
  // refuses.
  (typeof service === "object" && service !== null && "codec" in service ?
    service :
    make(service as string)) as Service<MetadataOf<S>>
