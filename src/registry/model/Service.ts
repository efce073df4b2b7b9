/**
 * The definition of a service: its name and how its instances are written.
 *
 * @module
 */
import * as Codec from "./Codec.ts"
import type { Layout } from "./Layout.ts"

/** A service by its name, with metadata of type `M` on each instance. */
export interface Service<M = Readonly<Record<string, string>>> {
  readonly name: string
  readonly codec: Codec.Codec<M>
}

/** How services are defined; see {@link Service}. */
export interface DefineService {
  /** A service whose metadata is a record of strings. */
  (name: string): Service
  /** A service whose metadata the schema describes; it is checked when registering and when discovering. */
  <M>(name: string, options: { readonly metadata: Codec.MetadataSchema<M> }): Service<M>
  /** A service in a format of its own, such as one of `@effect-etcd/discovery/interop`. */
  <M>(name: string, options: { readonly codec: Codec.Codec<M> }): Service<M>
}

const make: DefineService = <M>(
  name: string,
  options?: { readonly metadata: Codec.MetadataSchema<M> } | { readonly codec: Codec.Codec<M> }
): Service<M> | Service =>
  options === undefined ?
    { name, codec: Codec.strings } :
    { name, codec: "codec" in options ? options.codec : Codec.json(options.metadata) }

/** Where the instances of a service are: where its codec says, or else in the keyspace of the registry. */
export const layoutOf = <M>(service: Service<M>, keyspace: Layout): Layout => service.codec.layout ?? keyspace

/**
 * Defines services. Nothing is checked here: an illegal name is refused, with a typed error, where it is used.
 *
 * Define a typed service once and share the value: `discover` shares one watch for each definition.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { Service } from "@effect-etcd/discovery"
 *
 * const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
 * Orders.name // "orders"
 * ```
 */
export const Service: { readonly make: DefineService } = { make }
