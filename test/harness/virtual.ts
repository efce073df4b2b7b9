/**
 * What the tests on virtual time share: an embedded etcd, an operator with direct access, and processes that reach
 * it through faults.
 *
 * @module
 */
import {
  Clock,
  Context,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Random,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import type { LeaseId } from "../../src/etcd/messages/lease.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import type { InstanceSet } from "../../src/registry/model/InstanceSet.ts"
import * as Service from "../../src/registry/model/Service.ts"
import type { Registration } from "../../src/registry/registration/Registration.ts"
import type { RegisterOptions } from "../../src/registry/registration/RegisterOptions.ts"
import type { RegistrationError } from "../../src/registry/registration/RegistrationError.ts"
import { Registry } from "../../mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { idle } from "./idle.ts"
import { effect } from "./it.ts"

/** One process: a registry that reaches etcd through faults. */
export interface Process {
  readonly registry: Registry.Registry
  readonly faults: FaultyEtcd.Faults
  /** Ends it in good order. */
  readonly exit: Effect.Effect<void>
}

/** An etcd and those who use it. */
export interface World {
  /** Reaches etcd directly: no fault applies to it. */
  readonly operator: Etcd
  readonly process: (options?: Registry.Options) => Effect.Effect<Process, never, Scope.Scope>
  /** Puts another, empty engine in the place of the one there is; watches that were open break. */
  readonly replace: (options?: EtcdMemory.Options) => Effect.Effect<void>
}

/** The service of most tests. */
export const orders: Service.Service = Service.make("orders")

/** What most instances are registered with. */
export const a: RegisterOptions = { id: "a", endpoints: ["http://10.0.0.1:80"] }

/** The key of {@link a}. */
export const keyOfA = "/services/orders/a"

/** A world with an empty etcd. */
export const world: Effect.Effect<World, never, Scope.Scope> = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const engines = yield* Scope.fork(scope)
  let current = yield* EtcdMemory.make().pipe(Scope.provide(engines))
  const present: Etcd = {
    range: (request) => Effect.suspend(() => current.range(request)),
    put: (request) => Effect.suspend(() => current.put(request)),
    deleteRange: (request) => Effect.suspend(() => current.deleteRange(request)),
    txn: (request) => Effect.suspend(() => current.txn(request)),
    leaseGrant: (request) => Effect.suspend(() => current.leaseGrant(request)),
    leaseRevoke: (id) => Effect.suspend(() => current.leaseRevoke(id)),
    leaseTimeToLive: (request) => Effect.suspend(() => current.leaseTimeToLive(request)),
    leaseLeases: Effect.suspend(() => current.leaseLeases),
    leaseKeepAlive: (request) => Effect.suspend(() => current.leaseKeepAlive(request)),
    watch: (request) => Stream.suspend(() => current.watch(request)),
    compact: (request) => Effect.suspend(() => current.compact(request)),
    status: Effect.suspend(() => current.status),
    recovered: Effect.suspend(() => current.recovered),
    get administration() {
      return current.administration
    }
  }
  const processes: Array<Process> = []
  return {
    operator: present,
    process: Effect.fnUntraced(function* (options?: Registry.Options) {
      const own = yield* Scope.fork(scope)
      const { etcd, faults } = yield* FaultyEtcd.make(present)
      const context = yield* Registry.layer(options).pipe(
        Layer.provide(Layer.succeed(Etcd, etcd)),
        Layer.build,
        Scope.provide(own),
        Effect.orDie
      )
      const process = { registry: Context.get(context, Registry.Registry), faults, exit: Scope.close(own, Exit.void) }
      processes.push(process)
      return process
    }),
    replace: Effect.fnUntraced(function* (options?: EtcdMemory.Options) {
      current = yield* EtcdMemory.make(options).pipe(Scope.provide(engines))
      for (const { faults } of processes) yield* faults.breakWatches()
    })
  }
})

/** A test on virtual time. It receives its log, which is not printed, and has its own metrics. */
export const verify = <E>(
  title: string,
  body: (log: ReadonlyArray<string>) => Effect.Effect<void, E, Scope.Scope>
): void => {
  effect(title, () => {
    const log: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      const [text] = Array.isArray(message) ? message : [message]
      log.push(`${logLevel} ${text}`)
    })
    return closing(body(log)).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  })
}

/** Runs a test in a scope of its own and lets time pass until that has closed. */
const closing = <E>(body: Effect.Effect<void, E, Scope.Scope>): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const exit = yield* Effect.exit(body.pipe(Scope.provide(scope)))
    const closed = yield* Effect.forkChild(Scope.close(scope, exit), { startImmediately: true })
    for (let minutes = 0; closed.pollUnsafe() === undefined && minutes < 100; minutes++) yield* elapse("1 minute")
    return yield* exit
  })

/** Lets everything happen that needs no time. */
export const settle: Effect.Effect<void> = idle

/** Lets time pass, and what follows from it happen. */
export const elapse = (duration: Duration.Input): Effect.Effect<void> =>
  settle.pipe(Effect.andThen(TestClock.adjust(duration)), Effect.andThen(settle))

/** Fixes every random draw: with 1 each backoff has its full length, with 0 none. */
export const withDraw = (draw: number) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Random.Random, { nextDoubleUnsafe: () => draw, nextIntUnsafe: () => 0 })

/** A registration in a scope of its own. */
export interface Kept {
  readonly registration: Registration
  /** Its statuses so far: the time in milliseconds and the tag. */
  readonly statuses: ReadonlyArray<readonly [number, string]>
  readonly release: Effect.Effect<void>
}

/** Registers; the registration lives until it is released, or the test ends. */
export const register = Effect.fnUntraced(function* (
  { registry }: Pick<Process, "registry">,
  options: RegisterOptions = a
): Effect.fn.Return<Kept, RegistrationError, Scope.Scope> {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const registration = yield* registry.register(orders, options).pipe(Scope.provide(scope))
  const statuses: Array<readonly [number, string]> = []
  yield* registration.status.changes.pipe(
    Stream.runForEach(({ _tag }) => Effect.map(Clock.currentTimeMillis, (at) => statuses.push([Math.round(at), _tag]))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return { registration, statuses, release: Scope.close(scope, Exit.void) }
})

/** The tag of a registration's status. */
export const statusOf = ({ registration }: Pick<Kept, "registration">): Effect.Effect<string> =>
  Effect.map(registration.status.get, ({ _tag }) => _tag)

/** Runs an effect in the background. */
export interface Started<A, E> {
  /** How it ended, if it has. */
  readonly exit: () => Exit.Exit<A, E> | undefined
  readonly interrupt: Effect.Effect<void>
}

/** Starts an effect in the background. */
export const start = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<Started<A, E>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkScoped(body, { startImmediately: true })
    yield* settle
    return { exit: () => fiber.pollUnsafe(), interrupt: Fiber.interrupt(fiber) }
  })

/** What a stream gave so far, and how it ended, if it has. */
export interface Collected<A, E> extends Started<void, E> {
  readonly seen: ReadonlyArray<A>
}

/** Consumes a stream in the background. */
export const collect = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Collected<A, E>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const started = yield* start(Stream.runForEach(stream, (value) => Effect.sync(() => void seen.push(value))))
    return { seen, ...started }
  })

/** A set in one line, such as `Live a,b` or `Stale a (held b) (rejected c)`. */
export const show = (set: InstanceSet<unknown>): string => {
  const list = (what: string, entries: ReadonlyArray<string>) => entries.length === 0 ? "" : ` (${what} ${entries})`
  const held = set.held.map(({ id }) => id)
  const rejected = set.rejected.map(({ key }) => key)
  return `${set.freshness._tag} ${set.instances.map(({ id }) => id)}${list("held", held)}${list("rejected", rejected)}`
}

/** The keys in etcd with their leases, by key. */
export const keysIn = (etcd: Etcd): Effect.Effect<Record<string, LeaseId>> =>
  Effect.map(
    Effect.orDie(etcd.range(prefix(""))),
    ({ kvs }) => Object.fromEntries(kvs.map(({ key, lease }) => [decoder.decode(key), lease]))
  )

/** The leases in etcd. */
export const leasesIn = (etcd: Etcd): Effect.Effect<ReadonlyArray<LeaseId>> =>
  Effect.map(Effect.orDie(etcd.leaseLeases), ({ leases }) => leases)

/** The instance under a key, as JSON. */
export const valueOf = (etcd: Etcd, key: string = keyOfA): Effect.Effect<unknown> =>
  Effect.map(
    Effect.orDie(etcd.range({ key })),
    ({ kvs: [kv] }): unknown => kv === undefined ? undefined : JSON.parse(decoder.decode(kv.value))
  )

/** When calls of a method were made, in whole milliseconds. */
export const timesOf = (
  { faults }: Pick<Process, "faults">,
  method: FaultyEtcd.Method
): Effect.Effect<ReadonlyArray<number>> =>
  Effect.map(faults.calls(method), (calls) => calls.map(({ at }) => Math.round(at)))

/** The differences of consecutive numbers. */
export const steps = (times: ReadonlyArray<number>): ReadonlyArray<number> =>
  times.slice(1).map((time, index) => time - (times[index] ?? 0))

/** The count of a counter of this package over all services; 0 when it was never touched. */
export const counted = (id: string): Effect.Effect<number | bigint> =>
  Effect.map(Metric.snapshot, (metrics) =>
    metrics.reduce(
      (sum, metric) => metric.id === id && metric.type === "Counter" ? sum + Number(metric.state.count) : sum,
      0
    ))

/** An instance as another process puts it, under a new lease unless one is given. */
export const putInstance = Effect.fnUntraced(function* (
  etcd: Etcd,
  id: string,
  members: Record<string, unknown> = {},
  lease?: LeaseId
): Effect.fn.Return<LeaseId> {
  const leaseId = lease ?? (yield* Effect.orDie(etcd.leaseGrant({ ttl: 1_000_000 }))).id
  const value = JSON.stringify({ endpoints: [`http://${id}:80`], ...members })
  yield* Effect.orDie(etcd.put({ key: `/services/orders/${id}`, value, lease: leaseId }))
  return leaseId
})

/** The failure an effect ended with, if it has. */
export const failureOf = <A, E>({ exit }: Pick<Started<A, E>, "exit">): E | undefined => {
  const ended = exit()
  return ended === undefined ? undefined : Option.getOrUndefined(Exit.findErrorOption(ended))
}

const decoder = new TextDecoder()
