/**
 * The grammar of keys: `<namespace>/<service>/<id>`, such as `/services/orders/orders-7f3c`.
 *
 * A service is always read as the range of `<namespace>/<service>/`, with the slash, so that `hello` never includes
 * `helloworld`. A key in that range without a valid id is rejected.
 *
 * @module
 */
import { Result } from "effect"
import { decodeKey, type Layout } from "./Layout.ts"
import { instanceId, serviceName } from "./ServiceName.ts"

/** The keys under one namespace. */
export interface Keyspace extends Layout {
  /** With a leading and without a trailing slash. */
  readonly namespace: string
  /** The prefix of all keys. */
  readonly prefix: string
  /** The service whose range a key is in, or `undefined` if there is none. */
  readonly serviceOf: (key: Uint8Array) => string | undefined
}

/** The default namespace. */
export const defaultNamespace = "/services"

/** The rule for namespaces. */
export const namespaceRule =
  "it must be segments joined by '/', each a legal service name, with or without '/' in front, such as /services"

const randomId = (name: string): string => {
  const suffix = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0"))
    .join("")
  const id = `${name}-${suffix}`
  return Result.isSuccess(instanceId(id)) ? id : suffix
}

/** The keyspace under a namespace, or the rule that it breaks. `services` and `/services/` mean `/services`. */
export const make = (namespace: string): Result.Result<Keyspace, string> => {
  if (typeof namespace !== "string") return Result.fail(namespaceRule)
  const trimmed = `/${namespace}`.replace(/^\/\//, "/").replace(/\/$/, "")
  const segments = trimmed.slice(1).split("/")
  if (!segments.every((segment) => Result.isSuccess(serviceName(segment)))) return Result.fail(namespaceRule)
  const prefix = `${trimmed}/`
  const prefixLength = new TextEncoder().encode(prefix).length
  const servicePrefix = (name: string) => `${prefix}${name}/`
  return Result.succeed({
    namespace: trimmed,
    prefix,
    servicePrefix,
    key: (name, id) => `${prefix}${name}/${id}`,
    checkName: serviceName,
    checkId: instanceId,
    newId: randomId,
    idOf: (name, key) => {
      const text = decodeKey(key)
      if (text === undefined || !text.startsWith(servicePrefix(name))) return undefined
      const id = text.slice(prefix.length + name.length + 1)
      return Result.isSuccess(instanceId(id)) ? id : undefined
    },
    serviceOf: (key) => {
      const slash = key.indexOf(slashByte, prefixLength)
      const text = slash < 0 ? undefined : decodeKey(key.subarray(0, slash))
      if (text === undefined || !text.startsWith(prefix)) return undefined
      const name = text.slice(prefix.length)
      return Result.isSuccess(serviceName(name)) ? name : undefined
    }
  })
}

const slashByte = 0x2f
