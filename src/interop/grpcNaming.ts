/**
 * The format of etcd's own naming for gRPC, package `client/v3/naming/endpoints`.
 *
 * Keys are `<target>/<any>`, by convention `<target>/<host>:<port>`, and values `{"Op":0,"Addr":"…","Metadata":…}`. `Op`
 * says nothing: what is stored is there. Keys may have no lease: the caller of `AddEndpoint` chooses.
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
 * What etcd's endpoint manager puts and its resolver for gRPC reads. The name of a service is the target:
 * `foo/bar/my-service`, without a slash at its end. As for etcd's own resolver, the target `foo` has the endpoints of
 * `foo/bar`, too.
 *
 * Metadata is any JSON, `{}` when there is none; etcd's resolver hands it on, but gRPC itself makes no use of it. There
 * is no weight, zone, version and status, and one endpoint for each instance, `tcp://host:port` (or of the `scheme` in
 * the options). The default id is the address. A key without a lease is an instance, too: nothing but its owner removes
 * it.
 *
 * @example
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { grpcNaming } from "@effect-etcd/discovery/interop"
 *
 * const Orders = Service.make("foo/bar/orders", { codec: grpcNaming({ scheme: "grpc" }) })
 * ```
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
      if (Addr === "") return yield* refuse(`"Addr" is empty: it says nothing about where the instance is`)
      const isUrl = Addr.includes("://")
      if (isUrl && !URL.canParse(Addr)) return yield* refuse(`"Addr" is no URL`)
      return Object.freeze({
        id,
        name,
        // What `JSON.parse` answered with is JSON.
        metadata: isEmpty(Metadata) ? {} : Metadata as Schema.Json,
        endpoints: Object.freeze([isUrl ? Addr : yield* hostEndpointOf(scheme, Addr)]),
        weight: 1,
        status: "up" as const
      })
    })
}))
