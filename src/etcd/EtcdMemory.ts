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
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery"
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
import {
  Array,
  Clock,
  type Context,
  Duration,
  Effect,
  Fiber,
  Layer,
  type Pull,
  Result,
  type Scope,
  Stream
} from "effect"
import { Etcd, type KeyRange, type LeaseId, toBytes, type WatchRequest, type WatchResponse } from "./Etcd.ts"
import { Cancelled, EtcdError } from "./EtcdError.ts"
import { type Answer, Server } from "./memory/Server.ts"
import type { Watch } from "./memory/Watchers.ts"

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

/** A store that clients can {@link connect} to. */
export interface Engine {
  readonly [engineState]: EngineState
}

const engineState: unique symbol = Symbol("@effect-etcd/discovery/EtcdMemory/Engine")

/** Starts an engine. It ends with the scope, and its clients with it. */
export const engine: (options?: Options) => Effect.Effect<Engine, never, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options = {}) {
    const clock = yield* Clock.Clock
    const context = yield* Effect.context<never>()
    const state = new EngineState(options, clock, context)
    yield* Effect.addFinalizer(() => state.close)
    return { [engineState]: state }
  }
)

/** Opens a client of an engine. It ends with the scope: whatever is asked of it then fails with `Cancelled`. */
export const connect: (engine: Engine) => Effect.Effect<Etcd, never, Scope.Scope> = Effect.fnUntraced(
  function* (engine: Engine) {
    const client = new Client(engine[engineState])
    yield* Effect.addFinalizer(() => Effect.sync(() => client.close(clientClosed)))
    return client.etcd
  }
)

/** A client of an engine of its own. */
export const make = (options?: Options): Effect.Effect<Etcd, never, Scope.Scope> =>
  Effect.flatMap(engine(options), connect)

/** {@link Etcd} on an engine of its own. */
export const layer = (options?: Options): Layer.Layer<Etcd> => Layer.effect(Etcd, make(options))

/** {@link Etcd} as one more client of an engine. */
export const layerConnect = (engine: Engine): Layer.Layer<Etcd> => Layer.effect(Etcd, connect(engine))

/** A server with a clock and an alarm. */
class EngineState {
  readonly server: Server
  readonly clients = new Set<Client>()
  readonly #clock: Clock.Clock
  readonly #context: Context.Context<never>
  #alarm: Fiber.Fiber<void> | undefined
  #alarmAt = Infinity
  #closed = false

  constructor(options: Options, clock: Clock.Clock, context: Context.Context<never>) {
    this.#clock = clock
    this.#context = context
    this.server = new Server({
      clusterId: options.clusterId ?? 0xcdf818194e3a8c32n,
      memberId: options.memberId ?? 0x8e9e05c52164694dn,
      minLeaseTtl: options.minLeaseTtl ?? 2,
      maxTxnOps: options.maxTxnOps ?? 128,
      maxRequestBytes: options.maxRequestBytes ?? 1.5 * 1024 * 1024
    })
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** One step of the server at the present time. */
  step<A>(body: (server: Server) => A): A {
    this.server.advance(this.#now())
    const answer = body(this.server)
    this.#setAlarm()
    return answer
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = true
      for (const client of this.clients) client.close(engineClosed)
      return this.#alarm === undefined ? Effect.void : Fiber.interrupt(this.#alarm)
    })
  }

  #now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * Makes sure that the alarm rings when the next deadline falls due. An alarm that rings too early sets itself anew:
   * deadlines mostly move to later times, and then nothing is to be done here.
   */
  #setAlarm(): void {
    const at = this.server.deadlines.earliest ?? Infinity
    if (at >= this.#alarmAt || this.#closed) return
    this.#alarmAt = at
    this.#alarm?.interruptUnsafe()
    this.#alarm = Effect.runForkWith(this.#context)(this.#ring)
  }

  readonly #ring: Effect.Effect<void> = Effect.suspend(() => {
    const now = this.#now()
    this.server.advance(now)
    this.#alarmAt = this.server.deadlines.earliest ?? Infinity
    if (this.#alarmAt === Infinity) return Effect.void
    return Effect.flatMap(
      this.#clock.sleep(Duration.millis(Math.min(this.#alarmAt - now, longestSleep))),
      () => this.#ring
    )
  })
}

/** Milliseconds: timers of runtimes end at 2^31. */
const longestSleep = 86_400_000

/** What belongs to one client: its watches, and whether it is closed. */
class Client {
  readonly etcd: Etcd
  readonly #engine: EngineState
  readonly #watches = new Set<Watch>()
  #closed: string | undefined

  constructor(engine: EngineState) {
    this.#engine = engine
    this.#closed = engine.isClosed ? engineClosed : undefined
    engine.clients.add(this)
    this.etcd = {
      range: (request) => this.#call("range", keyText(request), (server) => server.range(request)),
      put: (request) => this.#call("put", keyText(request), (server) => server.put(request)),
      deleteRange: (request) => this.#call("deleteRange", keyText(request), (server) => server.deleteRange(request)),
      txn: (request) => this.#call("txn", undefined, (server) => server.txn(request)),
      leaseGrant: (request) => this.#call("leaseGrant", idText(request), (server) => server.leaseGrant(request)),
      leaseRevoke: (id) => this.#call("leaseRevoke", idText({ id }), (server) => server.leaseRevoke(id)),
      leaseTimeToLive: (request) =>
        this.#call("leaseTimeToLive", idText(request), (server) => server.leaseTimeToLive(request)),
      leaseLeases: this.#call("leaseLeases", undefined, (server) => server.leaseLeases()),
      leaseKeepAlive: (request) =>
        this.#call("leaseKeepAlive", idText(request), (server) => server.leaseKeepAlive(request)),
      watch: (request) => this.#watch(request),
      compact: (request) => this.#call("compact", undefined, (server) => server.compact(request)),
      status: this.#call("status", undefined, (server) => server.status())
    }
  }

  close(detail: string): void {
    if (this.#closed !== undefined) return
    this.#closed = detail
    this.#engine.clients.delete(this)
    for (const watch of this.#watches) watch.wake?.()
  }

  #call<A>(
    method: string,
    key: (() => string) | undefined,
    body: (server: Server) => Answer<A>
  ): Effect.Effect<A, EtcdError> {
    return Effect.suspend(() => {
      const answer: Answer<A> = this.#closed === undefined ?
        this.#engine.step(body) :
        Result.fail(new Cancelled({ detail: this.#closed }))
      if (Result.isSuccess(answer)) return Effect.succeed(answer.success)
      const error = { reason: answer.failure, method }
      return Effect.fail(new EtcdError(key === undefined ? error : { ...error, key: key() }))
    })
  }

  #watch(request: WatchRequest): Stream.Stream<WatchResponse, EtcdError> {
    const key = keyText(request)
    const open = Effect.tap(
      this.#call("watch", key, (server) => server.watch(request)),
      (watch) => Effect.sync(() => this.#watches.add(watch))
    )
    const close = (watch: Watch): Effect.Effect<void> =>
      Effect.sync(() => {
        watch.close()
        this.#watches.delete(watch)
      })
    return Stream.unwrap(Effect.map(Effect.acquireRelease(open, close), (watch) => {
      const take = this.#call("watch", key, (server) => server.takeFrom(watch))
      const pull: Pull.Pull<Array.NonEmptyReadonlyArray<WatchResponse>, EtcdError> = Effect.flatMap(
        take,
        (responses) =>
          Array.isReadonlyArrayNonEmpty(responses) ?
            Effect.succeed(responses) :
            Effect.flatMap(this.#awaitMore(watch), () => pull)
      )
      return Stream.fromPull(Effect.succeed(pull))
    }))
  }

  /** Waits until there is something to take, or nothing any more. */
  #awaitMore(watch: Watch): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      watch.wake = () => {
        watch.wake = undefined
        resume(Effect.void)
      }
      if (watch.isReady || this.#closed !== undefined) watch.wake()
    })
  }
}

const engineClosed = "engine is closed"
const clientClosed = "client is closed"

const decoder = new TextDecoder()

const keyText = ({ key }: KeyRange): () => string => () => decoder.decode(toBytes(key))

const idText = ({ id = 0n }: { readonly id?: LeaseId }): () => string => () => id.toString(16)
