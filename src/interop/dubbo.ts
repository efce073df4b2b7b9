/**
 * The format of Apache Dubbo's application-level discovery, `registry/etcdv3/service_discovery.go` of dubbo-go: keys
 * `/services/<application>/<host>:<port>` with JSON and a newline as values.
 *
 * The value does not contain the interfaces of an application. They are in Dubbo's metadata, under the revision in the
 * value.
 *
 * @module
 */
import { Result, Schema } from "effect"
import { instanceId, serviceName } from "../registry/model/ServiceName.ts"
import { type AddressOptions, authorityOf, endpointOf, onlyAddress } from "./address.ts"
import { type Format, format, GoMap, jsonReader, mapOf, refuse, wholeWeight, writeJson } from "./format.ts"

type Metadata = Readonly<Record<string, string>>

/** Dubbo's default weight. */
const defaultWeight = 100

const read = jsonReader(Schema.Struct({
  ServiceName: Schema.String,
  Host: Schema.String,
  Port: Schema.Int,
  Weight: Schema.optionalKey(Schema.Int),
  Enable: Schema.optionalKey(Schema.Boolean),
  Healthy: Schema.optionalKey(Schema.Boolean),
  Metadata: GoMap
}))

/**
 * The format of dubbo-go's service discovery on etcd.
 *
 * The name of a service is the name of the application.
 *
 * **Details**
 *
 * Stores no zone and no version, and one endpoint per instance: `tcp://host:port`, or with the `scheme` of the options.
 * The status is `"up"`, or `"down"` for an instance that is not healthy or not enabled. The weight is an integer. A
 * missing weight, or one of at most 0, reads as 100, as in Dubbo. The default id is the address.
 *
 * **Gotchas**
 *
 * Its keys start with `/services`, which is also this library's default namespace, so `listServices` counts Dubbo's
 * applications.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { dubbo } from "@effect-etcd/discovery/interop"
 *
 * const Demo = Service.make("demo", { codec: dubbo({ scheme: "tri" }) })
 * // 10.0.0.1:20000 is at /services/demo/10.0.0.1:20000
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const dubbo: Format<Readonly<Record<string, string>>, AddressOptions> = format<
  Metadata,
  AddressOptions
>((
  { scheme = "tcp" }
) => ({
  title: "Dubbo",
  layout: {
    servicePrefix: (name) => `/services/${name}/`,
    checkName: serviceName,
    checkId: instanceId,
    newId: (_, endpoints) => authorityOf(endpoints[0] ?? ""),
    defaultWeight
  },
  members: { weight: { path: ["Weight"], toJson: (weight) => weight } },
  encode: (instance) =>
    Result.gen(function* () {
      const address = yield* onlyAddress(scheme, instance)
      const weight = yield* wholeWeight(instance)
      const colon = address.lastIndexOf(":")
      return yield* writeJson(
        {
          ID: instance.id,
          ServiceName: instance.name,
          Host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"),
          Port: Number(address.slice(colon + 1)),
          Weight: weight === defaultWeight ? 0 : weight,
          Enable: true,
          Healthy: instance.status === "up",
          Metadata: instance.metadata,
          ServiceMetadata: null,
          Address: address,
          GroupName: "",
          Tag: ""
        },
        "\n"
      )
    }),
  decode: (name, id, value) =>
    Result.gen(function* () {
      const { Enable = true, Healthy = true, Host, Metadata, Port, ServiceName, Weight = 0 } = yield* read(value)
      if (ServiceName !== name) return yield* refuse(`"ServiceName" must be that of the key`)
      const host = Host.includes(":") ? `[${Host}]` : Host
      return Object.freeze({
        id,
        name,
        metadata: mapOf(Metadata),
        endpoints: Object.freeze([yield* endpointOf(scheme, `${host}:${Port}`)]),
        weight: Weight <= 0 ? defaultWeight : Weight,
        status: Enable && Healthy ? "up" as const : "down" as const
      })
    })
}))
