/**
 * The format of etcd's own naming for gRPC, package `client/v3/naming/endpoints`.
 *
 * Keys are `<target>/<any>`, by convention `<target>/<host>:<port>`. Values are `{"Op":0,"Addr":"…","Metadata":…}`; in
 * a stored value `Op` has no meaning. A key may lack a lease: the caller of `AddEndpoint` decides.
 *
 * @module
 */
import { Result, Schema } from "effect"
import { type AddressOptions, authorityOf, hostEndpointOf, onlyAddress } from "./address.ts"
import { type Format, format, jsonReader, refuse, writeJson } from "./format.ts"
import { path, target } from "./path.ts"

const read = jsonReader(Schema.Struct({
  Addr: Schema.optionalKey(Schema.String),
  Metadata: Schema.optionalKey(Schema.Unknown)
}))

const isEmpty = (metadata: unknown): boolean =>
  metadata === null || metadata === undefined ||
  (typeof metadata === "object" && !Array.isArray(metadata) && Object.keys(metadata).length === 0)

/**
 * The format of etcd's endpoint manager and its resolver for gRPC.
 *
 * The name of a service is the target, such as
 * `foo/bar/my-service`, without a trailing slash.
 *
 * **Details**
 *
 * Metadata is any JSON, by default `{}`. Stores no weight, zone, version or status, and one endpoint per instance:
 * `tcp://host:port`, or with the `scheme` of the options. The default id is the address.
 *
 * **Gotchas**
 *
 * - As for etcd's own resolver, the target `foo` includes the endpoints of `foo/bar`.
 * - A key without a lease is an instance, too. It stays until its owner deletes it.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { grpcNaming } from "@effect-etcd/discovery/interop"
 *
 * const Orders = Service.make("foo/bar/orders", { codec: grpcNaming({ scheme: "grpc" }) })
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const grpcNaming: Format<Schema.Json, AddressOptions> = format<Schema.Json, AddressOptions>((
  { scheme = "tcp" }
) => ({
  title: "etcd's naming",
  layout: {
    servicePrefix: (name) => `${name}/`,
    checkName: target,
    checkId: path,
    newId: (_, endpoints) => authorityOf(endpoints[0] ?? ""),
    isLeaseOptional: true
  },
  encode: (instance) =>
    Result.flatMap(onlyAddress(scheme, instance, hostEndpointOf), (Addr) => {
      const { metadata } = instance
      return writeJson({ Op: 0, Addr, Metadata: isEmpty(metadata) ? null : metadata })
    }),
  decode: (name, id, value) =>
    Result.gen(function* () {
      const { Addr = "", Metadata } = yield* read(value)
      if (Addr === "") return yield* refuse(`"Addr" is empty`)
      const isUrl = Addr.includes("://")
      if (isUrl && !URL.canParse(Addr)) return yield* refuse(`"Addr" is not a URL`)
      return Object.freeze({
        id,
        name,
        // A result of `JSON.parse` is JSON.
        metadata: isEmpty(Metadata) ? {} : Metadata as Schema.Json,
        endpoints: Object.freeze([isUrl ? Addr : yield* hostEndpointOf(scheme, Addr)]),
        weight: 1,
        status: "up" as const
      })
    })
}))
