/**
 * etcd's data model in process: the {@link Etcd} contract without a server, for tests and for trying things out.
 *
 * The engine has what one etcd member has: one revision for each transaction that writes, every version of every key
 * until it is compacted, leases, and watches from any revision. One suite holds it and real servers to the same
 * behaviour. It is not a server: nothing is stored, and nothing outside of the process can reach it.
 *
 * {@link layer} is all that most programs need. A test of several processes makes one {@link engine} and gives each of
 * them a client of its own with {@link connect}; they see the same keys, and closing one client does not end the rest.
 *
 * What may surprise:
 *
 * - Time is that of the `Clock` in whose presence the engine is made. Under `TestClock` leases run out when the test
 *   says so, and exactly then; a server takes up to a second longer. A lease lasts at least 2 seconds, as on a server
 *   with default settings.
 * - Each operation is one step that nothing interrupts. There is no network: no operation is ever unavailable, late or
 *   ambiguous. `FaultyEtcd` of `@effect-etcd/discovery/testing` adds that.
 * - A watch whose reader lags does not grow: it goes on from history later, and fails with `Compacted` when that is
 *   gone, as on a server.
 * - After its scope has closed, a client fails every operation and every watch with `Cancelled`; so does an engine.
 * - While leases or watches exist the engine runs one fiber, which sleeps until the next one falls due.
 *
 * @example A lease that runs out in a test
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

/** The settings of an engine. */
export interface Options {
  /** Default: always the same. Another one looks to clients like another cluster. */
  readonly clusterId?: bigint
  /** Default: always the same. */
  readonly memberId?: bigint
  /** The shortest time to live of a lease, in seconds. Default 2, as etcd has it with its default settings. */
  readonly minLeaseTtl?: number
  /** The most operations of a transaction. Default 128. */
  readonly maxTxnOps?: number
  /** The largest write, in bytes of keys and values. Default 1.5 MiB. */
  readonly maxRequestBytes?: number
}

/** A store that any number of clients share. */
export interface Engine {
  /** See {@link connect}. */
  readonly connect: Effect.Effect<Etcd, never, Scope.Scope>
}

/** Starts an engine. It ends with the scope, and its clients with it. */
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
  maxRequestBytes: 1.5 * 1024 * 1024
}

/** Opens a client of an engine. It ends with the scope: whatever is asked of it then fails with `Cancelled`. */
export const connect = (engine: Engine): Effect.Effect<Etcd, never, Scope.Scope> => engine.connect

/** A client of an engine of its own. */
export const make = (options?: Options): Effect.Effect<Etcd, never, Scope.Scope> =>
  Effect.flatMap(engine(options), connect)

/** {@link Etcd} on an engine of its own. */
export const layer = (options?: Options): Layer.Layer<Etcd> => Layer.effect(Etcd, make(options))

/** {@link Etcd} as one more client of an engine. */
export const layerConnect = (engine: Engine): Layer.Layer<Etcd> => Layer.effect(Etcd, connect(engine))
