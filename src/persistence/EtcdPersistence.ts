/**
 * Effect's `Persistence` on etcd, so that `PersistedCache` and other stores of `Persistable` results work.
 *
 * **When to use**
 *
 * For results that are rare and small, and that all processes of a fleet should share: tokens of an API, the outcome of
 * an expensive job.
 *
 * **Details**
 *
 * The entry `k` of the store `users` is the key `<prefix>users/k`, with `%` and `/` of the store id percent-encoded. The
 * value is `{"value": …, "expires": milliseconds since 1970}` as JSON.
 *
 * An entry with a time to live is ignored from that millisecond on, by the clock of the process that reads it. Later
 * etcd deletes it with its lease, which it shares with entries of a similar time to live.
 *
 * **Gotchas**
 *
 * - The clocks of the processes should agree to well below the times to live in use.
 * - An entry has at most about 1.5 MiB, etcd's limit for a request.
 * - Each write is a write of etcd's log: hundreds to a few thousand per second for the whole cluster. Do not keep a
 *   cache in etcd that each request writes.
 *
 * @stability unstable
 * @module
 */
import { Clock, Duration, Effect, Layer } from "effect"
import * as Persistence from "effect/persistence/Persistence"
import { Etcd } from "../etcd/Etcd.ts"
import { prefix as prefixRange } from "../etcd/KeyRange.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { keyPrefix } from "../internal/keyPrefix.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { parseJson } from "../internal/text/json.ts"
import { ExpiryLeases } from "./ExpiryLeases.ts"

/**
 * The options of {@link layer} and {@link layerBacking}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The start of all keys. A slash is added if it does not end with one. Default: `/effect/persistence/`. */
  readonly prefix?: string
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** The range of a store. No store id contains a slash, so stores do not overlap. */
const storePrefix = (prefix: string, storeId: string): string =>
  `${prefix}${storeId.replaceAll("%", "%25").replaceAll("/", "%2F")}/`

/** An entry as it is stored. */
interface Entry {
  readonly key: string
  readonly value: string
  readonly ttlMillis: number | undefined
}

/** etcd refuses transactions of more than 128 operations. */
const maxEntries = 100

/** Below etcd's limit of 1.5 MiB for a request. */
const maxBytes = 1024 * 1024

/**
 * Splits entries into transactions. Each has one time to live and no key twice, as etcd demands: the last entry counts.
 */
const inBatches = (entries: Iterable<Entry>): ReadonlyArray<ReadonlyArray<Entry>> => {
  const batches: Array<Array<Entry>> = []
  const open = new Map<number | undefined, { readonly batch: Array<Entry>; bytes: number }>()
  for (const entry of new Map(Array.from(entries, (entry) => [entry.key, entry])).values()) {
    // A code unit has at most three bytes in UTF-8.
    const size = 3 * (entry.key.length + entry.value.length)
    let current = open.get(entry.ttlMillis)
    if (current === undefined || current.batch.length === maxEntries || current.bytes + size > maxBytes) {
      current = { batch: [], bytes: 0 }
      open.set(entry.ttlMillis, current)
      batches.push(current.batch)
    }
    current.batch.push(entry)
    current.bytes += size
  }
  return batches
}

const failed = (message: string, cause: unknown): Persistence.PersistenceError =>
  new Persistence.PersistenceError({
    message: `${message}: ${cause instanceof Error ? cause.message : String(cause)}`,
    cause
  })

/** Returns the value of an entry, or `undefined` if it has expired. Throws for a value of another shape. */
const valueOf = (stored: Uint8Array, now: number): object | undefined => {
  const entry = parseJson(decoder.decode(stored)) as { readonly value?: unknown; readonly expires?: unknown } | null
  const { expires, value } = entry ?? {}
  if (typeof value !== "object" || value === null) throw new Error("it is not an entry of this store; delete the key")
  return typeof expires === "number" && expires <= now ? undefined : value
}

/** How many entries `getMany` reads at a time. */
const concurrency = 32

const makeStore = (etcd: Etcd, leases: ExpiryLeases, start: string): Persistence.BackingPersistenceStore => {
  const read = (key: string): Effect.Effect<Uint8Array | undefined, Persistence.PersistenceError> =>
    Effect.mapBoth(etcd.range({ key: `${start}${key}` }), {
      onSuccess: ({ kvs: [kv] }) => kv?.value,
      onFailure: (cause) => failed(`cannot read entry ${JSON.stringify(key)}`, cause)
    })

  const decode = (key: string, stored: Uint8Array | undefined) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.try({
        try: () => stored === undefined ? undefined : valueOf(stored, now),
        catch: (cause) => failed(`cannot read entry ${JSON.stringify(key)}`, cause)
      }))

  const encode = (key: string, value: object, ttl: Duration.Duration | undefined) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.try({
        try: (): Entry => {
          const ttlMillis = ttl === undefined ? undefined : Duration.toMillis(ttl)
          const expires = ttlMillis === undefined ? {} : { expires: now + ttlMillis }
          return { key: `${start}${key}`, value: JSON.stringify({ value, ...expires }), ttlMillis }
        },
        catch: (cause) => failed(`cannot write entry ${JSON.stringify(key)}`, cause)
      }))

  /** Writes entries of one time to live at one revision. */
  const write = (batch: ReadonlyArray<Entry>): Effect.Effect<void, EtcdError> => {
    const put = (lease: LeaseId): Effect.Effect<void, EtcdError> =>
      Effect.asVoid(etcd.txn({
        then: batch.map(({ key, value }) => ({ _tag: "Put", request: { key, value, lease } }))
      }))
    const ttlMillis = batch[0]?.ttlMillis
    return ttlMillis === undefined ? put(0n) : leases.use(ttlMillis, put)
  }

  return {
    get: (key) => Effect.flatMap(read(key), (stored) => decode(key, stored)),
    getMany: (keys) =>
      Effect.forEach(
        keys,
        (key) => Effect.flatMap(read(key), (stored) => Effect.catch(decode(key, stored), () => Effect.undefined)),
        { concurrency }
      ),
    set: (key, value, ttl) =>
      Effect.flatMap(
        encode(key, value, ttl),
        (entry) =>
          Effect.mapError(write([entry]), (cause) => failed(`cannot write entry ${JSON.stringify(key)}`, cause))
      ),
    setMany: (entries) =>
      Effect.flatMap(
        Effect.forEach(entries, (entry) => encode(...entry)),
        (entries) =>
          Effect.mapError(
            Effect.forEach(inBatches(entries), write, { discard: true }),
            (cause) => failed(`cannot write ${entries.length} entries`, cause)
          )
      ),
    remove: (key) =>
      Effect.mapBoth(etcd.deleteRange({ key: `${start}${key}` }), {
        onSuccess: () => {},
        onFailure: (cause) => failed(`cannot remove entry ${JSON.stringify(key)}`, cause)
      }),
    clear: Effect.mapBoth(etcd.deleteRange(prefixRange(start)), {
      onSuccess: () => {},
      onFailure: (cause) => failed(`cannot clear ${JSON.stringify(start)}`, cause)
    })
  }
}

/**
 * `BackingPersistence` on etcd. Nothing is sent before it is used.
 *
 * **Details**
 *
 * `get`, `set` and `remove` are one request each. `set` also grants a lease if none at hand fits the time to live.
 * `clear` deletes at one revision. `getMany` reads 32 entries at a time; an entry that is not readable counts as
 * missing, as in Effect's store on Redis. `setMany` writes entries of the same time to live at one revision, up to 100
 * of them and 1 MiB.
 *
 * Fails with `InvalidOption` for a bad `prefix`. Operations run once and fail with a `PersistenceError` whose `cause` is
 * the `EtcdError`.
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layerBacking = (
  options: Options = {}
): Layer.Layer<Persistence.BackingPersistence, InvalidOption, Etcd> =>
  Layer.effect(
    Persistence.BackingPersistence,
    Effect.gen(function* () {
      const prefix = yield* Effect.fromResult(
        checkOptions("EtcdPersistence", (check) => keyPrefix(check, options.prefix ?? "/effect/persistence/"))
      )
      const etcd = yield* Etcd
      const leases = new ExpiryLeases(etcd)
      return Persistence.BackingPersistence.of({
        make: (storeId) => Effect.sync(() => makeStore(etcd, leases, storePrefix(prefix, storeId)))
      })
    })
  )

/**
 * `Persistence` on etcd.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { EtcdPersistence } from "@effect-etcd/discovery/persistence"
 * import { Effect, Layer, Schema } from "effect"
 * import { Persistable, PersistedCache } from "effect/persistence"
 * import assert from "node:assert/strict"
 *
 * class Rate extends Persistable.Class<{ payload: { currency: string } }>()("Rate", {
 *   primaryKey: ({ currency }) => currency,
 *   success: Schema.Finite
 * }) {}
 *
 * const program = Effect.gen(function* () {
 *   const rates = yield* PersistedCache.make((_: Rate) => Effect.succeed(1.08), {
 *     storeId: "rates",
 *     timeToLive: () => "1 hour"
 *   })
 *   assert.equal(yield* rates.get(new Rate({ currency: "EUR" })), 1.08)
 * })
 *
 * // With etcd: EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] })
 * const layer = EtcdPersistence.layer().pipe(Layer.provide(EtcdMemory.layer()))
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(layer)))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Persistence.Persistence, InvalidOption, Etcd> =>
  Persistence.layer.pipe(Layer.provide(layerBacking(options)))
