/**
 * etcd's data model in this process: the {@link Etcd} contract without a server.
 *
 * **When to use**
 *
 * For tests and first steps. It is not a server: it stores nothing on disk, and no other process can reach it.
 *
 * **Details**
 *
 * The engine has what one etcd member has: one revision per writing transaction, every version of every key until it is
 * compacted, leases, and watches from any revision. One conformance suite runs on the engine and on real servers.
 *
 * Most programs need only {@link layer}. A test of several processes makes one {@link engine} and gives each process a
 * client with {@link Engine.connect | connect}. The clients share the keys, and closing one client does not end the others.
 *
 * While leases or watches exist, the engine runs one fiber, which sleeps until the next deadline.
 *
 * **Gotchas**
 *
 * - The engine uses the `Clock` of the context in which it is made. Under `TestClock` a lease expires exactly on time;
 *   a server takes up to a second longer. A lease lasts at least 2 seconds, as on a server with default settings.
 * - Each operation is one uninterruptible step. There is no network, so no operation is ever unavailable, late or
 *   ambiguous. `FaultyEtcd` of `@effect-etcd/discovery/testing` adds such faults.
 * - A slow reader of a watch costs constant memory: the watch continues from history later, and fails with `Compacted`
 *   if that history is gone, as on a server.
 * - After its scope has closed, a client fails every operation and every watch with `Cancelled`. So does an engine.
 *
 * @example A lease that expires in a test
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   const { id } = yield* etcd.leaseGrant({ ttl: 10 })
 *   yield* etcd.put({ key: "a", value: "1", lease: id })
 *   yield* TestClock.adjust("10 seconds")
 *   assert.equal((yield* etcd.range({ key: "a" })).count, 0n)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer()), Effect.provide(TestClock.layer())))
 * ```
 *
 * @module
 */
import { Effect, Layer, type Scope } from "effect"
import { Etcd } from "../Etcd.ts"
import { openClient } from "./Client.ts"
import { Timekeeper } from "./Timekeeper.ts"

/**
 * The options of an engine.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Default: a constant. Clients treat another id as another cluster. */
  readonly clusterId?: bigint
  /** Default: a constant. */
  readonly memberId?: bigint
  /** The shortest TTL of a lease, in seconds. Default 2, as on a server with default settings. */
  readonly minLeaseTtl?: number
  /** Maximum operations of a transaction. Default 128. */
  readonly maxTxnOps?: number
  /** Maximum size of a write, in bytes of keys and values. Default 1.5 MiB. */
  readonly maxRequestBytes?: number
  /**
   * Whether a read without values carries the leases of the keys, as etcd up to 3.6 does. Default `true`.
   *
   * @internal
   */
  readonly keysOnlyLeases?: boolean
}

/**
 * An engine that any number of clients share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Engine {
  /** Opens a client of the engine. After the scope has closed, its operations fail with `Cancelled`. */
  readonly connect: Effect.Effect<Etcd, never, Scope.Scope>
}

/**
 * Starts an engine. Closing the scope ends it and its clients.
 *
 * @since 0.1.0
 * @category constructors
 */
export const engine: (options?: Options) => Effect.Effect<Engine, never, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options = {}) {
    const context = yield* Effect.context<never>()
    const settings = { ...defaults, ...options }
    const timekeeper = yield* Effect.acquireRelease(
      Effect.sync(() => new Timekeeper(settings, context)),
      (timekeeper) => timekeeper.close
    )
    return { connect: openClient(timekeeper) }
  }
)

const defaults: Required<Options> = {
  clusterId: 0xcdf818194e3a8c32n,
  memberId: 0x8e9e05c52164694dn,
  minLeaseTtl: 2,
  maxTxnOps: 128,
  maxRequestBytes: 1.5 * 1024 * 1024,
  keysOnlyLeases: true
}

/**
 * A client of a new engine.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options?: Options): Effect.Effect<Etcd, never, Scope.Scope> =>
  Effect.flatMap(engine(options), ({ connect }) => connect)

/**
 * {@link Etcd} on a new engine.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Etcd> => Layer.effect(Etcd, make(options))

/**
 * {@link Etcd} as another client of an existing engine.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEngine = (engine: Engine): Layer.Layer<Etcd> => Layer.effect(Etcd, engine.connect)
