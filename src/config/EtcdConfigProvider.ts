/**
 * Effect's `ConfigProvider` on the keys below a prefix, kept up to date.
 *
 * @module
 */
import { Cause, ConfigProvider, Effect, Exit, HashMap, type Layer, Option, type Scope, Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { prefix as prefixRange } from "../etcd/KeyRange.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { Followed } from "../etcd/follow.ts"
import { Latest } from "../internal/Latest.ts"
import { logWarning } from "../internal/log.ts"
import { type ConfigRefError, ConfigRefused } from "./ConfigRefError.ts"
import { followScoped, settingsOf, type WatchOptions } from "./settings.ts"

/**
 * The options of {@link make} and {@link layer}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends WatchOptions {
  /** The prefix without its slash: with `/config/app`, the key `/config/app/db/port` is `["db", "port"]`. */
  readonly prefix: string
  /** Whether an empty value counts as a value. Default: `false`: it counts as missing, as in Effect's own providers. */
  readonly preserveEmptyStrings?: boolean
}

/**
 * A `ConfigProvider` that reads the newest loaded state.
 *
 * @since 0.1.0
 * @category models
 */
export interface EtcdConfigProvider extends ConfigProvider.ConfigProvider {
  /**
   * The configuration at one revision, now and after each change. All reads from one of these providers are consistent.
   *
   * A slow reader receives the newest configuration. Fails with `ConfigRefused` if etcd refuses.
   */
  readonly changes: Stream.Stream<ConfigProvider.ConfigProvider, ConfigRefError>
}

/** A node of the tree of keys. The tree is persistent, so a snapshot costs nothing. */
interface Node {
  /** The value of the key, if it exists. */
  readonly value?: Uint8Array
  readonly below: HashMap.HashMap<string, Node>
}

const empty: Node = { below: HashMap.empty() }

/** Returns the tree with a new value at a path. Without a value, removes the node unless it has children. */
const set = (node: Node, [segment, ...rest]: ReadonlyArray<string>, value: Uint8Array | undefined): Node => {
  if (segment === undefined) return value === undefined ? { below: node.below } : { value, below: node.below }
  const next = set(Option.getOrElse(HashMap.get(node.below, segment), () => empty), rest, value)
  const isEmpty = next.value === undefined && HashMap.isEmpty(next.below)
  return { ...node, below: isEmpty ? HashMap.remove(node.below, segment) : HashMap.set(node.below, segment, next) }
}

/**
 * Makes a `ConfigProvider` that follows the keys below a prefix until the scope closes.
 *
 * **Details**
 *
 * Completes once the keys have been read, however long etcd takes to answer. Later reads come from memory. While etcd
 * is unreachable or refuses, the last loaded state stays.
 *
 * The segments of a key are the path. Values are text; one trailing line break is removed (files that `etcdctl put`
 * reads end with one). A node whose children are the numbers from 0 on is a list: `hosts/0`, `hosts/1`. Keys with more
 * than 32 segments are ignored.
 *
 * Reading a value that is not UTF-8 fails with `SourceError`. Starts one watch in one fiber. Writes nothing. Fails with
 * `InvalidOption` before anything is sent, and with `ConfigRefused` if etcd refuses.
 *
 * **Example**
 *
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { EtcdConfigProvider } from "@effect-etcd/discovery/config"
 * import { Config, Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/app/db/port", value: "5432" })
 *   const provider = yield* EtcdConfigProvider.make({ prefix: "/config/app" })
 *   const port = yield* Config.Port("port").pipe(Config.nested("db")).parse(provider)
 *   assert.equal(port, 5432)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options: Options) => Effect.Effect<EtcdConfigProvider, ConfigRefError, Etcd | Scope.Scope> = Effect
  .fnUntraced(function* (options: Options) {
    const settings = yield* Effect.fromResult(
      settingsOf("EtcdConfigProvider.make", ["prefix", options.prefix], options)
    )
    const prefix = options.prefix.endsWith("/") ? options.prefix : `${options.prefix}/`
    const keepsEmpty = options.preserveEmptyStrings ?? false
    const etcd = yield* Etcd
    const snapshots = new Latest<ConfigProvider.ConfigProvider, ConfigRefError>()
    let root = empty

    const put = (tree: Node, { key, value }: Pick<KeyValue, "key"> & { readonly value: Uint8Array | undefined }) => {
      const path = segmentsOf(prefix, key)
      return path === undefined ? tree : set(tree, path, value)
    }

    const onFollowed = Effect.fnUntraced(function* (followed: Followed) {
      switch (followed._tag) {
        case "Listed":
          root = followed.kvs.reduce<Node>(put, empty)
          break
        case "Changed":
          root = followed.events.reduce<Node>(
            (tree, { kv, type }) => put(tree, { key: kv.key, value: type === "put" ? kv.value : undefined }),
            root
          )
          break
        case "Interrupted":
          return yield* logWarning(
            `lost the watch on ${
              JSON.stringify(prefix)
            }; serving the last known values and reconnecting: ${followed.cause.message}`
          )
        case "Resumed":
          return
      }
      const snapshot = root
      snapshots.set(providerOf(() => snapshot, prefix, keepsEmpty))
    })

    yield* followScoped(
      etcd,
      { ...settings, range: prefixRange(prefix) },
      onFollowed,
      (cause) =>
        Effect.sync(() =>
          snapshots.end(Exit.failCause(Cause.map(cause, (cause) => new ConfigRefused({ key: prefix, cause }))))
        )
    )
    yield* Stream.runHead(snapshots.changes)
    return Object.assign(providerOf(() => root, prefix, keepsEmpty), { changes: snapshots.changes })
  })

/**
 * Makes {@link make} the `ConfigProvider` of the layer's users.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdConfigProvider } from "@effect-etcd/discovery/config"
 * import { EtcdGrpc } from "@effect-etcd/discovery/etcd"
 * import { Layer } from "effect"
 *
 * const ConfigLive = EtcdConfigProvider.layer({ prefix: "/config/app" }).pipe(
 *   Layer.provide(EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never, ConfigRefError, Etcd> => ConfigProvider.layer(make(options))

const providerOf = (root: () => Node, prefix: string, keepsEmpty: boolean): ConfigProvider.ConfigProvider =>
  ConfigProvider.make((path) => {
    let node: Node | undefined = root()
    for (const segment of path) {
      node = Option.getOrUndefined(HashMap.get(node.below, String(segment)))
      if (node === undefined) return Effect.succeed(undefined)
    }
    const text = node.value === undefined ? undefined : textOf(node.value)
    if (text === null) {
      const key = `${prefix}${path.join("/")}`
      return Effect.fail(new ConfigProvider.SourceError({ message: `${JSON.stringify(key)} is not UTF-8` }))
    }
    const line = text?.replace(/\r?\n$/, "")
    const value = line === "" && !keepsEmpty ? undefined : line
    const size = HashMap.size(node.below)
    if (size === 0) return Effect.succeed(value === undefined ? undefined : ConfigProvider.makeValue(value))
    return Effect.succeed(
      isList(node.below, size) ?
        ConfigProvider.makeArray(size, value) :
        ConfigProvider.makeRecord(new Set(HashMap.keys(node.below)), value)
    )
  })

/**
 * Returns whether the children are the numbers from 0 on. If gaps were allowed, one key could make a list of any
 * length.
 */
const isList = (below: Node["below"], size: number): boolean => {
  for (let index = 0; index < size; index++) if (!HashMap.has(below, String(index))) return false
  return true
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const textOf = (bytes: Uint8Array): string | null => {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}

/** The number of segments of a key below the prefix. */
const maxDepth = 32

/** Returns the path of a key. `undefined` if the key is not below the prefix, is not text, or has too many segments. */
const segmentsOf = (prefix: string, key: Uint8Array): ReadonlyArray<string> | undefined => {
  const text = textOf(key)
  if (text === null || !text.startsWith(prefix) || text.length === prefix.length) return undefined
  const segments = text.slice(prefix.length).split("/", maxDepth + 1)
  return segments.length > maxDepth ? undefined : segments
}
