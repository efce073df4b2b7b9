/**
 * The format of SkyDNS, which CoreDNS' plugin `etcd` serves: keys `/skydns/<labels reversed>/<id>` with JSON as values.
 *
 * The plugin reads `host`, `port`, `priority`, `weight`, `text`, `ttl`, `targetstrip` and `group` (coredns
 * `plugin/etcd/msg/service.go`). It serves SRV, A, AAAA, CNAME and TXT queries from them.
 *
 * @module
 */
import { Duration, Option, Result, Schema } from "effect"
import { type AddressOptions, hostEndpointOf, onlyAddress } from "./address.ts"
import { type Format, format, jsonReader, refuse, wholeWeight, writeJson } from "./format.ts"

/**
 * Options of {@link skydns}.
 *
 * @since 0.1.0
 * @category options
 */
export interface SkydnsOptions extends AddressOptions {
  /** The prefix of all keys, `path` of CoreDNS' plugin. Default: `/skydns`. */
  readonly path?: string
  /**
   * How long resolvers may cache the records of an instance, in whole seconds. Default: 30 seconds.
   *
   * This is not the TTL of the registration: when the lease expires, etcd removes the key and its records.
   */
  readonly recordTtl?: Duration.Input
}

/** CoreDNS' default weight. */
const defaultWeight = 100

const read = jsonReader(Schema.Struct({
  host: Schema.optionalKey(Schema.NullOr(Schema.String)),
  port: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  weight: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  text: Schema.optionalKey(Schema.NullOr(Schema.String)),
  group: Schema.optionalKey(Schema.NullOr(Schema.String))
}))

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A domain name in lower case, as CoreDNS looks it up. */
const domain = (name: string): Result.Result<string, string> =>
  typeof name === "string" && name.length <= 253 && name.split(".").every((part) => label.test(part)) ?
    Result.succeed(name) :
    Result.fail("it must be a domain name in lower case without a dot at its end, such as orders.example.org")

const dnsLabel = (id: string): Result.Result<string, string> =>
  typeof id === "string" && label.test(id) ?
    Result.succeed(id) :
    Result.fail("it must be a DNS label in lower case: 1 to 63 letters, digits, '-' or '_'")

/** The label of an address: `10.0.0.5:8080` is `10-0-0-5-8080`. */
const labelOf = (endpoint: string): string =>
  endpoint.replace(/^[^:]+:\/\//, "").toLowerCase().replace(/[^a-z0-9_]+/g, "-").replace(/^-|-$/g, "").slice(0, 63)

const secondsOf = (ttl: Duration.Input): number | undefined => {
  const seconds = Option.match(Duration.fromInput(ttl), { onNone: () => 0, onSome: Duration.toSeconds })
  return Number.isInteger(seconds) && seconds >= 1 && seconds <= 2 ** 31 - 1 ? seconds : undefined
}

/**
 * The format of SkyDNS and of CoreDNS' plugin `etcd`.
 *
 * The name of a service is its domain name, such as `orders.example.org`.
 *
 * **Details**
 *
 * A stock CoreDNS serves the instances. An SRV query for `orders.example.org` returns one record per instance with its
 * port and weight. An A or AAAA query returns the addresses. A query for `<id>.orders.example.org` returns one
 * instance.
 *
 * Stores no zone, version or status, and one endpoint per instance: `tcp://host:port`, or with the `scheme` of the
 * options. The weight is an integer above 0; a missing weight reads as 100, as in CoreDNS. Metadata is limited to
 * `text` (a TXT record) and `group`. The id is a DNS label, by default derived from the address.
 *
 * **Gotchas**
 *
 * Subdomains are part of their domain for CoreDNS and for this codec: `eu.orders.example.org` belongs to
 * `orders.example.org`.
 *
 * Keys without a lease, such as those of external-dns, are rejected unless the consumer accepts them.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { skydns } from "@effect-etcd/discovery/interop"
 *
 * const Orders = Service.make("orders.example.org", { codec: skydns({ scheme: "http" }) })
 * // http://10.0.0.5:8080 is at /skydns/org/example/orders/10-0-0-5-8080
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const skydns: Format<Readonly<Record<string, string>>, SkydnsOptions> = format<
  Readonly<Record<string, string>>,
  SkydnsOptions
>(({ path = "/skydns", recordTtl = "30 seconds", scheme = "tcp" }) => {
  const ttl = secondsOf(recordTtl)
  const root = path.endsWith("/") ? path : `${path}/`
  return {
    title: "SkyDNS",
    layout: {
      servicePrefix: (name) => `${root}${name.split(".").reverse().join("/")}/`,
      checkName: domain,
      checkId: dnsLabel,
      newId: (_, endpoints) => labelOf(endpoints[0] ?? ""),
      defaultWeight
    },
    members: { weight: { path: ["weight"], toJson: (weight) => weight } },
    encode: (instance) =>
      Result.gen(function* () {
        if (ttl === undefined) return yield* refuse("recordTtl must be a whole number of seconds from 1 to 2147483647")
        const address = yield* onlyAddress(scheme, instance, hostEndpointOf)
        const [, ipv6, name, port] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(address) ?? []
        const { group, text } = instance.metadata
        return yield* writeJson({
          host: ipv6 ?? name,
          ...(port === undefined ? {} : { port: Number(port) }),
          weight: yield* wholeWeight(instance),
          ...(text === undefined ? {} : { text }),
          ttl,
          ...(group === undefined ? {} : { group })
        })
      }),
    decode: (name, id, value) =>
      Result.gen(function* () {
        const { group, host, port, text, weight } = yield* read(value)
        if (host === undefined || host === null || host === "") return yield* refuse(`"host" is empty`)
        const authority = host.includes(":") ? `[${host}]` : host
        const address = port === undefined || port === null || port === 0 ? authority : `${authority}:${port}`
        return Object.freeze({
          id,
          name,
          metadata: Object.freeze({ ...(text ? { text } : {}), ...(group ? { group } : {}) }),
          endpoints: Object.freeze([yield* hostEndpointOf(scheme, address)]),
          weight: weight === undefined || weight === null || weight <= 0 ? defaultWeight : weight,
          status: "up" as const
        })
      })
  }
})
