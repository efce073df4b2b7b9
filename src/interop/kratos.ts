/**
 * The format of go-kratos, package `contrib/registry/etcd`: keys `<namespace>/<name>/<id>` with JSON as values.
 *
 * @module
 */
import { Result, Schema } from "effect"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import { instanceId, serviceName } from "../registry/model/ServiceName.ts"
import { show } from "../internal/options.ts"
import { withoutUserInfo } from "../internal/text/userInfo.ts"
import { type Format, format, GoMap, jsonReader, mapOf, refuse, writeJson } from "./format.ts"

type Metadata = Readonly<Record<string, string>>

/**
 * Options of {@link kratos}.
 *
 * @since 0.1.0
 * @category options
 */
export interface KratosOptions {
  /** The prefix of all keys, `registry.Namespace` of kratos. Default: `/microservices`. */
  readonly namespace?: string
}

/** The weight that kratos' selectors assume for an instance without one. */
const defaultWeight = 100

const read = jsonReader(Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  version: Schema.optionalKey(Schema.NullOr(Schema.String)),
  metadata: GoMap,
  endpoints: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String)))
}))

const weightOf = (metadata: Metadata): number => {
  const text = Object.hasOwn(metadata, "weight") ? metadata["weight"] ?? "" : ""
  const weight = /^\+?\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  return Number.isNaN(weight) ? defaultWeight : weight
}

/** Returns metadata with the weight as kratos stores it. */
const withWeight = ({ metadata, weight }: ServiceInstance<Metadata>): Metadata =>
  weight === weightOf(metadata) ? metadata : { ...metadata, weight: String(weight) }

const secure: Readonly<Record<string, string>> = { http: "https", grpc: "grpcs" }
const insecure = /^(https?|grpcs?):\/\/([^?#]*)\?isSecure=(true|false)$/

/** Converts `http://…?isSecure=true` of kratos before 2.4 to `https://…`, as newer versions write it. */
const plain = (endpoint: string): string => {
  const [, scheme = "", rest = "", isSecure] = insecure.exec(endpoint) ?? []
  return rest === "" ? endpoint : `${isSecure === "true" ? secure[scheme] ?? scheme : scheme}://${rest}`
}

/**
 * The format of kratos' `Registry` for etcd.
 *
 * The name of a service is the name of the application.
 *
 * **Details**
 *
 * Stores everything except zone and status. The weight is in `metadata.weight`, as an integer; a missing weight reads
 * as 100, as in kratos. An endpoint `http://…?isSecure=true` reads as `https://…`, and `grpc` as `grpcs`.
 *
 * kratos permits instances without endpoints. They are present but not available. An endpoint that is not a URL is
 * ignored if another endpoint is one.
 *
 * **Gotchas**
 *
 * kratos also returns services whose names merely start with the requested name. Here a service is exactly its own
 * name.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { kratos } from "@effect-etcd/discovery/interop"
 *
 * const Greeter = Service.make("helloworld", { codec: kratos })
 * const Staging = Service.make("helloworld", { codec: kratos({ namespace: "/staging" }) })
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const kratos: Format<Readonly<Record<string, string>>, KratosOptions> = format<Metadata, KratosOptions>(
  (
    { namespace = "/microservices" }
  ) => ({
    title: "kratos",
    layout: {
      servicePrefix: (name) => `${namespace}/${name}/`,
      checkName: serviceName,
      checkId: instanceId,
      newId: () => crypto.randomUUID(),
      defaultWeight
    },
    members: { weight: { path: ["metadata", "weight"], toJson: String } },
    normal: (instance) => ({
      ...instance,
      metadata: withWeight(instance),
      endpoints: instance.endpoints.map(plain)
    }),
    encode: (instance) => {
      const { endpoints, id, name, version = "" } = instance
      return writeJson({ id, name, version, metadata: withWeight(instance), endpoints })
    },
    decode: (name, id, value) =>
      Result.gen(function* () {
        const found = yield* read(value)
        if (found.id !== id) return yield* refuse(`"id" must be that of the key`)
        if (found.name !== name) return yield* refuse(`"name" must be that of the key`)
        const given = (found.endpoints ?? []).map(plain)
        const endpoints = given.filter((endpoint) => URL.canParse(endpoint))
        const [first] = given
        if (endpoints.length === 0 && first !== undefined) {
          return yield* refuse(`${show(withoutUserInfo(first))} is not a URL`)
        }
        const metadata = mapOf(found.metadata)
        return Object.freeze({
          id,
          name,
          ...(found.version === undefined || found.version === null || found.version === "" ?
            {} :
            { version: found.version }),
          metadata,
          endpoints: Object.freeze(endpoints),
          weight: weightOf(metadata),
          status: endpoints.length === 0 ? "down" as const : "up" as const
        })
      })
  })
)
