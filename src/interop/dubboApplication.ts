/**
 * The format of Apache Dubbo's application-level discovery, `registry/etcdv3/service_discovery.go` of dubbo-go: keys
 * `/services/<application>/<host>:<port>` with JSON and a newline as values.
 *
 * Which interfaces an application has is not in there but in its metadata, under the revision that the instance names.
 *
 * @module
 */
import { Result, Schema } from "effect"
import { instanceId, serviceName } from "../registry/model/ServiceName.ts"
import { type AddressOptions, authorityOf, endpointOf, onlyAddress } from "./address.ts"
import { type Format, format, jsonReader, refuse, wholeWeight, writeJson } from "./format.ts"

type Metadata = Readonly<Record<string, string>>

/** What Dubbo takes for an instance that says no weight. */
const defaultWeight = 100

const read = jsonReader(Schema.Struct({
  ServiceName: Schema.String,
  Host: Schema.String,
  Port: Schema.Int,
  Weight: Schema.optionalKey(Schema.Int),
  Enable: Schema.optionalKey(Schema.Boolean),
  Healthy: Schema.optionalKey(Schema.Boolean),
  Metadata: Schema.optionalKey(Schema.NullOr(Schema.Record(Schema.String, Schema.String)))
}))

/**
 * What dubbo-go's service discovery on etcd puts and reads. The name of a service is that of the application.
 *
 * It has no zone and version, and one endpoint for each instance, `tcp://host:port` (or of the `scheme` in the options).
 * Of the statuses it has `"up"`, and `"down"` for what is not healthy or not enabled. The weight is a whole number; an
 * instance that says none, or none above 0, has 100, as it has for Dubbo. The default id is the address.
 *
 * Its keys start with `/services`, as this library's own do by default: `listServices` then counts Dubbo's applications.
 *
 * @example
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { dubboApplication } from "@effect-etcd/discovery/interop"
 *
 * const Demo = Service.make("demo", { codec: dubboApplication({ scheme: "tri" }) })
 * // 10.0.0.1:20000 is at /services/demo/10.0.0.1:20000
 * ```
 */
export const dubboApplication: Format<Readonly<Record<string, string>>, AddressOptions> = format<
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
        metadata: Metadata ?? {},
        endpoints: Object.freeze([yield* endpointOf(scheme, `${host}:${Port}`)]),
        weight: Weight <= 0 ? defaultWeight : Weight,
        status: Enable && Healthy ? "up" as const : "down" as const
      })
    })
}))
