/**
 * The format of CloudWeGo's Kitex, package `kitex-contrib/registry-etcd`: keys `<prefix>/<service>/<host>:<port>` with
 * JSON as values.
 *
 * @module
 */
import { Result, Schema } from "effect"
import { instanceId, serviceName } from "../registry/model/ServiceName.ts"
import { authorityOf, endpointOf, onlyAddress } from "./address.ts"
import { type Format, format, GoMap, jsonReader, mapOf, wholeWeight, writeJson } from "./format.ts"

type Tags = Readonly<Record<string, string>>

/**
 * Options of {@link kitex}.
 *
 * @since 0.1.0
 * @category options
 */
export interface KitexOptions {
  /**
   * The prefix of all keys, `WithEtcdServicePrefix` of registry-etcd. Default: `kitex/registry-etcd`. Set it to empty
   * for the keys of registry-etcd's deprecated constructors with authentication.
   */
  readonly prefix?: string
}

const defaultWeight = 10

const read = jsonReader(Schema.Struct({
  network: Schema.Literals(["tcp", "tcp4", "tcp6"]),
  address: Schema.String,
  weight: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  tags: GoMap
}))

/**
 * The format of Kitex' registry and resolver for etcd.
 *
 * The metadata holds Kitex' tags.
 *
 * **Details**
 *
 * Stores no zone, version or status, and one endpoint per instance, `tcp://host:port`. The weight is an integer. A
 * missing weight, or one of at most 0, reads as 10, as in Kitex, so a weight cannot mean "no traffic". The default id
 * is the address.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { kitex } from "@effect-etcd/discovery/interop"
 *
 * const Echo = Service.make("echo", { codec: kitex })
 * // 10.0.0.1:8888 is at kitex/registry-etcd/echo/10.0.0.1:8888
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const kitex: Format<Readonly<Record<string, string>>, KitexOptions> = format<Tags, KitexOptions>((
  { prefix = "kitex/registry-etcd" }
) => ({
  title: "Kitex",
  layout: {
    servicePrefix: (name) => `${prefix}/${name}/`,
    checkName: serviceName,
    checkId: instanceId,
    newId: (_, endpoints) => authorityOf(endpoints[0] ?? ""),
    defaultWeight
  },
  members: { weight: { path: ["weight"], toJson: (weight) => weight } },
  encode: (instance) =>
    Result.gen(function* () {
      const address = yield* onlyAddress("tcp", instance)
      const tags = Object.keys(instance.metadata).length === 0 ? null : instance.metadata
      return yield* writeJson({ network: "tcp", address, weight: yield* wholeWeight(instance), tags })
    }),
  decode: (name, id, value) =>
    Result.gen(function* () {
      const { address, tags, weight } = yield* read(value)
      return Object.freeze({
        id,
        name,
        metadata: mapOf(tags),
        endpoints: Object.freeze([yield* endpointOf("tcp", address)]),
        weight: weight === undefined || weight === null || weight <= 0 ? defaultWeight : weight,
        status: "up" as const
      })
    })
}))
