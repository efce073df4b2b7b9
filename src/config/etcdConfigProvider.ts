/**
 * A `ConfigProvider` over the keys below a prefix.
 *
 * What is known is a persistent tree, replaced with each change, so a snapshot of it costs nothing.
 *
 * @module
 */
import { ConfigProvider, Effect, Exit, HashMap, Option, type Scope, Stream } from "effect"
import { Etcd, type KeyValue, prefix as prefixRange } from "../etcd/Etcd.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import { Latest } from "../internal/Latest.ts"
import { type ConfigError, ConfigRefused } from "./ConfigError.ts"
import { type FollowConfigOptions, notEmpty, settingsOf } from "./settings.ts"

/** Where configuration is, and how it is followed. */
export interface EtcdConfigProviderOptions extends FollowConfigOptions {
  /** Keys below it, after a slash, are configuration: with `/config/app`, `/config/app/db/port` is `["db", "port"]`. */
  readonly prefix: string
  /** Whether an empty value is a value. Default: `false`, it counts as missing, as in Effect's own providers. */
  readonly preserveEmptyStrings?: boolean
}

/** A `ConfigProvider` that always reads what was loaded last. */
export interface EtcdConfigProvider extends ConfigProvider.ConfigProvider {
  /**
   * The configuration at one revision, now and after each change, for whoever reads it anew: what is read from one such
   * provider belongs together. A slow reader gets the newest. Fails with `ConfigRefused` when etcd refuses.
   */
  readonly changes: Stream.Stream<ConfigProvider.ConfigProvider, ConfigError>
}

/** A place in the tree of keys. */
interface Place {
  /** What the key holds, if there is such a key. */
  readonly value?: Uint8Array
  readonly below: HashMap.HashMap<string, Place>
}

const nowhere: Place = { below: HashMap.empty() }

/** The tree with another value at a path; without one the place goes, unless there is something below. */
const set = (place: Place, [segment, ...rest]: ReadonlyArray<string>, value: Uint8Array | undefined): Place => {
  if (segment === undefined) return value === undefined ? { below: place.below } : { value, below: place.below }
  const next = set(Option.getOrElse(HashMap.get(place.below, segment), () => nowhere), rest, value)
  const isEmpty = next.value === undefined && HashMap.isEmpty(next.below)
  return { ...place, below: isEmpty ? HashMap.remove(place.below, segment) : HashMap.set(place.below, segment, next) }
}

/**
 * A `ConfigProvider` over the keys below a prefix, kept up to date for the lifetime of the scope.
 *
 * It completes when the keys were read once, however long etcd takes to answer; every later read is answered from
 * memory, with the newest that was loaded. Segments of the key are the path, values are text, places whose children are
 * numbers are lists (`hosts/0`, `hosts/1`). While etcd cannot be reached, or refuses, what was loaded last stays.
 *
 * A value that is not UTF-8 fails with `SourceError` where it is read. One watch in one fiber; nothing is written. Fails
 * with `InvalidConfigOption` before anything is sent, and with `ConfigRefused` when etcd refuses.
 *
 * @example
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { etcdConfigProvider } from "@effect-etcd/discovery/config"
 * import { Config, ConfigProvider, Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/app/db/port", value: "5432" })
 *   const provider = ConfigProvider.layer(etcdConfigProvider({ prefix: "/config/app" }))
 *   const port = yield* Config.Port("port").pipe(Config.nested("db")).pipe(Effect.provide(provider))
 *   assert.equal(port, 5432)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 */
export const etcdConfigProvider: (
  options: EtcdConfigProviderOptions
) => Effect.Effect<EtcdConfigProvider, ConfigError, Etcd | Scope.Scope> = Effect.fnUntraced(function* (
  options: EtcdConfigProviderOptions
) {
  yield* Effect.fromResult(notEmpty("prefix", options.prefix))
  const settings = yield* Effect.fromResult(settingsOf(options))
  const prefix = options.prefix.endsWith("/") ? options.prefix : `${options.prefix}/`
  const keepsEmpty = options.preserveEmptyStrings ?? false
  const etcd = yield* Etcd
  const snapshots = new Latest<ConfigProvider.ConfigProvider, ConfigError>()
  let root = nowhere

  const put = (tree: Place, { key, value }: Pick<KeyValue, "key"> & { readonly value: Uint8Array | undefined }) => {
    const path = segmentsOf(prefix, key)
    return path === undefined ? tree : set(tree, path, value)
  }

  const tell = Effect.fnUntraced(function* (followed: Followed) {
    switch (followed._tag) {
      case "Listed":
        root = followed.kvs.reduce<Place>(put, nowhere)
        break
      case "Changed":
        root = followed.events.reduce<Place>(
          (tree, { kv, type }) => put(tree, { key: kv.key, value: type === "put" ? kv.value : undefined }),
          root
        )
        break
      case "Interrupted":
        return yield* Effect.logWarning(
          `configuration below ${JSON.stringify(prefix)} cannot be followed for now: ${followed.cause.message}`
        )
      case "Resumed":
        return
    }
    const snapshot = root
    snapshots.set(providerOf(() => snapshot, prefix, keepsEmpty))
  })

  yield* follow(etcd, { ...settings, range: prefixRange(prefix) }, tell).pipe(
    Effect.catch((cause) => Effect.sync(() => snapshots.end(Exit.fail(new ConfigRefused({ key: prefix, cause }))))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* Stream.runHead(snapshots.changes)
  return Object.assign(providerOf(() => root, prefix, keepsEmpty), { changes: snapshots.changes })
})

const providerOf = (root: () => Place, prefix: string, keepsEmpty: boolean): ConfigProvider.ConfigProvider =>
  ConfigProvider.make((path) => {
    let place: Place | undefined = root()
    for (const segment of path) {
      place = Option.getOrUndefined(HashMap.get(place.below, String(segment)))
      if (place === undefined) return Effect.succeed(undefined)
    }
    const value = place.value === undefined ? undefined : textOf(place.value)
    if (value === null) {
      const key = `${prefix}${path.join("/")}`
      return Effect.fail(new ConfigProvider.SourceError({ message: `${JSON.stringify(key)} is not UTF-8` }))
    }
    const found = value === "" && !keepsEmpty ? undefined : value
    const below = Array.from(HashMap.keys(place.below))
    if (below.length === 0) return Effect.succeed(found === undefined ? undefined : ConfigProvider.makeValue(found))
    return Effect.succeed(
      below.every((segment) => /^(?:0|[1-9]\d{0,8})$/.test(segment)) ?
        ConfigProvider.makeArray(Math.max(...below.map(Number)) + 1, found) :
        ConfigProvider.makeRecord(new Set(below), found)
    )
  })

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const textOf = (bytes: Uint8Array): string | null => {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}

/** The path of a key, or `undefined` when it is not below the prefix or is no text. */
const segmentsOf = (prefix: string, key: Uint8Array): ReadonlyArray<string> | undefined => {
  const text = textOf(key)
  return text === null || text.length === prefix.length ? undefined : text.slice(prefix.length).split("/")
}
