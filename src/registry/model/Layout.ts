/**
 * Where the instances of a service are in etcd: the grammar of their keys, names and ids.
 *
 * A codec without a layout uses the namespace of the registry (`Keyspace`). The codec of another framework has the layout
 * of that framework, regardless of the namespace.
 *
 * @since 0.1.0
 * @module
 */
import { Result } from "effect"

/**
 * Where the instances of a service are in etcd, and what their names and ids may be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Layout {
  /** The prefix of the keys of all instances of a service: the range that is read and watched. */
  readonly servicePrefix: (name: string) => string
  /** The key of an instance. */
  readonly key: (name: string, id: string) => string
  /** The id in a key, or `undefined` if it has no valid one. Discovery rejects such a key. */
  readonly idOf: (name: string, key: Uint8Array) => string | undefined
  /** The name if it is valid, or the rule that it breaks. */
  readonly checkName: (name: string) => Result.Result<string, string>
  /** The id if it is valid, or the rule that it breaks. */
  readonly checkId: (id: string) => Result.Result<string, string>
  /** Makes the id of an instance that is registered without one. */
  readonly newId: (name: string, endpoints: ReadonlyArray<string>) => string
  /** The weight of an instance that is registered without one. Default: 1. */
  readonly defaultWeight?: number
  /** Whether a key without a lease is an instance. Default: false, because nothing would remove it. */
  readonly isLeaseOptional?: boolean
  /**
   * Whether keys with the same value are one instance. Then the codec reads the id from the value, and the instance
   * exists while at least one of its keys exists. Default: false.
   */
  readonly idFromValue?: boolean
}

/** The parts of a layout whose keys are the prefix of the service and an id. */
export interface LayoutParts extends Omit<Layout, "key" | "idOf"> {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The text of a key, or `undefined` if it is not UTF-8. */
export const decodeKey = (key: Uint8Array): string | undefined => {
  try {
    return utf8.decode(key)
  } catch {
    return undefined
  }
}

/**
 * The text of any key; different keys have different texts. In a key that is not UTF-8 each byte above 0x7f becomes a
 * lone surrogate, `\udc80` to `\udcff`, which no UTF-8 text contains.
 */
export const keyText = (key: Uint8Array): string =>
  decodeKey(key) ??
    Array.from(key, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join("")

/** A layout whose keys are the prefix of the service followed by the id. */
export const make = (parts: LayoutParts): Layout => ({
  ...parts,
  key: (name, id) => parts.servicePrefix(name) + id,
  idOf: (name, key) => {
    const text = decodeKey(key)
    const prefix = parts.servicePrefix(name)
    if (text === undefined || !text.startsWith(prefix)) return undefined
    const id = text.slice(prefix.length)
    return Result.isSuccess(parts.checkId(id)) ? id : undefined
  }
})

/** The layout of a service: that of its codec, or else the keyspace of the registry. */
export const layoutOf = (
  { codec }: { readonly codec: { readonly layout?: Layout } },
  keyspace: Layout
): Layout => codec.layout ?? keyspace
