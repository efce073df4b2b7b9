/**
 * An `Etcd` with injected faults, around any other `Etcd`.
 *
 * **Details**
 *
 * A {@link Script} says what goes wrong: a list of {@link Rule}s (which calls, which fault), or random faults from a seed.
 * {@link Faults} changes it at any time and records all calls. A call that no rule matches passes through.
 *
 * - `unavailable`, `noLeader`, `permissionDenied`, `fails(reason)`: the call fails, nothing is applied.
 * - `answerLost`: the call is applied, and its answer is lost.
 * - `slow(duration)`: the call reaches etcd late.
 * - `hung`: the call never reaches etcd and gets no answer.
 * - `leaseLost`, `compaction`, `meanwhile(…)`: something happens in etcd just before the call.
 * - `breaksAfter`, `endsAfter`, `silentAfter`, `progressTwice`: faults of a watch. Two of them break the contract of
 *   `Etcd` on purpose: with `endsAfter` the watch ends, with `dropsEventsAfter` it omits changes but reports progress.
 *
 * All other faults keep the contract of `Etcd`. Each call has a deadline (3 seconds by default; a heartbeat has its own
 * timeout) and then fails with `DeadlineExceeded`. A silent watch fails after its `progressEvery` and
 * `progressTimeout`.
 *
 * **Example** (The put of a registration is applied, but its answer is lost)
 *
 * ```ts
 * import { getInstances, registerService, Registry } from "@effect-etcd/discovery"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { FaultyEtcd } from "@effect-etcd/discovery/testing"
 * import { Effect, Fiber, Layer } from "effect"
 * import { TestClock } from "effect/testing"
 * import assert from "node:assert/strict"
 *
 * const test = Effect.gen(function* () {
 *   const faults = yield* FaultyEtcd.Faults
 *   yield* faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.answerLost }])
 *   const starting = yield* Effect.forkScoped(registerService("orders", { endpoints: ["http://10.0.0.5:8080"] }))
 *   yield* TestClock.adjust("5 seconds")
 *   yield* Fiber.join(starting)
 *   assert.equal((yield* getInstances("orders")).size, 1)
 * })
 *
 * await Effect.runPromise(test.pipe(
 *   Effect.scoped,
 *   Effect.provide(
 *     Registry.layer().pipe(Layer.provideMerge(FaultyEtcd.layer()), Layer.provide(EtcdMemory.layer()))
 *   ),
 *   Effect.provide(TestClock.layer())
 * ))
 * ```
 *
 * @module
 */
import { Clock, Context, Deferred, Duration, Effect, Latch, Layer, Result, Stream } from "effect"
import { formatDuration } from "../internal/time/format.ts"
import { monotonicMillis, sleepUntil } from "../internal/time/monotonic.ts"
import type { ClusterCalls } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { Bytes } from "../etcd/KeyRange.ts"
import type { RequestOp } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import type { WatchRequest, WatchResponse } from "../etcd/messages/watch.ts"
import { DeadlineExceeded, EtcdError, type EtcdErrorReason, Unavailable } from "../etcd/EtcdError.ts"
import { type Call, type Fault, hung, type Method, unavailable } from "./Fault.ts"
import { decider, type Rule, type Script } from "./Script.ts"

export {
  answerLost,
  breaksAfter,
  type Call,
  compaction,
  dropsEventsAfter,
  endsAfter,
  fails,
  type Fault,
  hung,
  leaseLost,
  meanwhile,
  type Method,
  noLeader,
  permissionDenied,
  progressTwice,
  silentAfter,
  slow,
  transient,
  unavailable
} from "./Fault.ts"
export type { RandomScript, Rule, Script } from "./Script.ts"

/**
 * Controls the faults of an etcd and records its calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface Faults {
  /** Replaces the script. Open watches are not affected. */
  readonly set: (script: Script) => Effect.Effect<void>
  /** Removes all faults. Silenced watches stay silent until they fail. */
  readonly clear: Effect.Effect<void>
  /** Makes etcd unreachable: calls and all open watches fail with `Unavailable`. */
  readonly outage: Effect.Effect<void>
  /** Makes etcd silent: calls hang until their deadlines, and open watches are silenced. */
  readonly blackhole: Effect.Effect<void>
  /** Fails all open watches. Default: `Unavailable`. */
  readonly breakWatches: (reason?: EtcdErrorReason) => Effect.Effect<void>
  /** Silences all open watches. They fail with `DeadlineExceeded` after their timeouts. */
  readonly silenceWatches: Effect.Effect<void>
  /** The calls so far, in order, or those of one method. */
  readonly calls: (method?: Method) => Effect.Effect<ReadonlyArray<Call>>
  /** The open watches. */
  readonly openWatches: Effect.Effect<ReadonlyArray<Call>>
}

/**
 * The service key of {@link Faults}.
 *
 * @since 0.1.0
 * @category services
 */
export const Faults: Context.Service<Faults, Faults> = Context.Service("@effect-etcd/discovery/testing/Faults")

/**
 * The options of {@link make} and {@link layer}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The faults from the start. Default: none. */
  readonly script?: Script
  /** The deadline of calls. Default: 3 seconds. */
  readonly requestTimeout?: Duration.Input
}

/**
 * An etcd with faults, and their control.
 *
 * @since 0.1.0
 * @category models
 */
export interface FaultyEtcd {
  readonly etcd: Etcd
  readonly faults: Faults
}

/**
 * Wraps an `Etcd`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (etcd: Etcd, options: Options = {}): Effect.Effect<FaultyEtcd> =>
  Effect.sync(() => wrap(etcd, options))

/**
 * Wraps the `Etcd` of the context and provides {@link Faults}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Etcd | Faults, never, Etcd> =>
  Layer.effectContext(Effect.gen(function* () {
    const { etcd, faults } = yield* make(yield* Etcd, options)
    return Context.make(Etcd, etcd).pipe(Context.add(Faults, faults))
  }))

interface OpenWatch {
  readonly call: Call
  readonly broken: Deferred.Deferred<never, EtcdError>
  readonly silenced: Latch.Latch
  isSilent: boolean
  answers: number
  /** Milliseconds of the monotonic clock at the last answer. */
  answeredAt: number
}

const everything: ReadonlyArray<Rule> = [{ fault: unavailable }]
const nothingAnswered: ReadonlyArray<Rule> = [{ fault: hung }]
const brokenStream = new Unavailable({ detail: "injected: the stream broke" })

const wrap = (inner: Etcd, options: Options): FaultyEtcd => {
  const requestTimeout = Duration.fromInputUnsafe(options.requestTimeout ?? "3 seconds")
  const calls: Array<Call> = []
  const counts = new Map<Method, number>()
  const watches = new Set<OpenWatch>()
  /** The calls that wait for the end of an outage. */
  const waiting = new Set<() => void>()
  let decide = decider(options.script ?? [])

  const begin = (method: Method, about: About) =>
    Effect.map(Clock.currentTimeMillis, (at): { readonly call: Call; readonly fault: Fault | undefined } => {
      const nth = (counts.get(method) ?? 0) + 1
      const call = { method, nth, ...about, at }
      counts.set(method, nth)
      calls.push(call)
      return { call, fault: decide(call) }
    })

  const unary = <A>(
    method: Method,
    about: About,
    operation: Effect.Effect<A, EtcdError>,
    timeout: Duration.Duration = requestTimeout
  ): Effect.Effect<A, EtcdError> =>
    Effect.flatMap(begin(method, about), ({ call, fault }) => {
      if (fault === undefined) return operation
      switch (fault._tag) {
        case "Fails":
          return Effect.fail(failure(call, fault.reason))
        case "Meanwhile":
          return Effect.andThen(Effect.ignore(fault.run(inner, call)), operation)
        case "AnswerLost":
          return withDeadline(call, timeout, Effect.andThen(Effect.ignore(operation), Effect.never))
        case "Slow":
          return withDeadline(call, timeout, Effect.delay(operation, fault.by))
        case "Hung":
          return withDeadline(call, timeout, Effect.never)
        default:
          return operation
      }
    })

  const open = (call: Call, request: WatchRequest, fault: Fault | undefined): Watched =>
    Stream.unwrap(Effect.gen(function* () {
      const watch: OpenWatch = {
        call,
        broken: yield* Deferred.make<never, EtcdError>(),
        silenced: yield* Latch.make(false),
        isSilent: false,
        answers: 0,
        answeredAt: yield* monotonicMillis
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => watches.add(watch)),
        () => Effect.sync(() => watches.delete(watch))
      )
      if (silentFrom(fault) === 0) silenceNow(watch)
      return apply(call, inner.watch(request), fault).pipe(
        Stream.tap(() => Effect.flatMap(monotonicMillis, (now) => passOn(watch, fault, now))),
        Stream.interruptWhen(Effect.raceFirst(Deferred.await(watch.broken), silence(watch, request)))
      )
    }))

  /** Passes a response on, unless the watch is silenced. */
  const passOn = (watch: OpenWatch, fault: Fault | undefined, now: number): Effect.Effect<void> => {
    if (watch.isSilent) return Effect.never
    watch.answers += 1
    watch.answeredAt = now
    if (watch.answers === silentFrom(fault)) silenceNow(watch)
    return Effect.void
  }

  /** Fails when a silenced watch reaches its timeout. */
  const silence = Effect.fnUntraced(function* (watch: OpenWatch, request: WatchRequest) {
    yield* watch.silenced.await
    const { progressEvery = "10 seconds", progressTimeout = "5 seconds" } = request
    const patience = Duration.sum(Duration.fromInputUnsafe(progressEvery), Duration.fromInputUnsafe(progressTimeout))
    yield* sleepUntil(watch.answeredAt + Duration.toMillis(patience))
    const detail = `injected: the watch was silent for ${formatDuration(patience)}`
    return yield* failure(watch.call, new DeadlineExceeded({ detail }))
  })

  const faults: Faults = {
    set: (script) =>
      Effect.sync(() => {
        decide = decider(script)
      }),
    clear: Effect.suspend(() => {
      decide = decider([])
      const woken = [...waiting]
      waiting.clear()
      for (const wake of woken) wake()
      return Effect.void
    }),
    outage: Effect.suspend(() => Effect.andThen(faults.set(everything), faults.breakWatches())),
    blackhole: Effect.suspend(() => Effect.andThen(faults.set(nothingAnswered), faults.silenceWatches)),
    breakWatches: (reason = brokenStream) =>
      Effect.suspend(() =>
        Effect.forEach(watches, ({ broken, call }) => Deferred.fail(broken, failure(call, reason)), { discard: true })
      ),
    silenceWatches: Effect.sync(() => watches.forEach(silenceNow)),
    calls: (method) => Effect.sync(() => calls.filter((call) => method === undefined || call.method === method)),
    openWatches: Effect.sync(() => Array.from(watches, ({ call }) => call))
  }

  const administration = <A>(operation: Effect.Effect<A, EtcdError>) => unary("administration", {}, operation)

  const faulty = (calls: ClusterCalls): ClusterCalls => ({
    memberList: (request) => administration(calls.memberList(request)),
    status: administration(calls.status),
    alarms: administration(calls.alarms),
    unary: (rpc) => administration(calls.unary(rpc))
  })

  const etcd: Etcd = {
    range: (request) => unary("range", about(request), inner.range(request)),
    put: (request) => unary("put", about(request, request.lease), inner.put(request)),
    deleteRange: (request) => unary("deleteRange", about(request), inner.deleteRange(request)),
    txn: (request) => {
      const steps = [...request.then ?? [], ...request.else ?? []]
      const first = request.compare?.[0] ?? steps.map(keyOf).find((key) => key !== undefined)
      const lease = steps.map((step) => step._tag === "Put" ? step.request.lease : undefined).find((id) => id)
      return unary("txn", about(first, lease), inner.txn(request))
    },
    leaseGrant: (request) => unary("leaseGrant", about(undefined, request.id), inner.leaseGrant(request)),
    leaseRevoke: (id) => unary("leaseRevoke", about(undefined, id), inner.leaseRevoke(id)),
    leaseTimeToLive: (request) =>
      unary("leaseTimeToLive", about(undefined, request.id), inner.leaseTimeToLive(request)),
    leaseLeases: unary("leaseLeases", {}, inner.leaseLeases),
    leaseKeepAlive: (request) =>
      unary(
        "leaseKeepAlive",
        about(undefined, request.id),
        inner.leaseKeepAlive(request),
        request.timeout === undefined ? requestTimeout : Duration.fromInputUnsafe(request.timeout)
      ),
    watch: (request) =>
      Stream.unwrap(Effect.map(begin("watch", about(request)), ({ call, fault }) => open(call, request, fault))),
    compact: (request) => unary("compact", {}, inner.compact(request)),
    status: unary("status", {}, inner.status),
    recovered: Effect.callback((resume) => {
      const wake = () => resume(Effect.void)
      waiting.add(wake)
      return Effect.sync(() => waiting.delete(wake))
    }),
    administration: {
      ...faulty(inner.administration),
      at: (endpoint) =>
        Result.map(inner.administration.at(endpoint), (calls) => ({
          ...faulty(calls),
          serverStream: (rpc) => Stream.unwrap(administration(Effect.succeed(calls.serverStream(rpc))))
        }))
    }
  }

  /** The watch with the fault. */
  const apply = (call: Call, answers: Watched, fault: Fault | undefined): Watched => {
    switch (fault?._tag) {
      case "Fails":
        return Stream.fail(failure(call, fault.reason))
      case "Meanwhile":
        return Stream.unwrap(Effect.as(Effect.ignore(fault.run(inner, call)), answers))
      case "Slow":
        return Stream.unwrap(Effect.as(Effect.sleep(fault.by), answers))
      case "BreaksAfter":
        return Stream.concat(Stream.take(answers, fault.answers), Stream.fail(failure(call, fault.reason)))
      case "EndsAfter":
        return Stream.take(answers, fault.answers)
      case "DropsEventsAfter":
        return Stream.unwrap(Effect.sync(() => {
          let responses = 0
          return Stream.filter(answers, ({ _tag }) => ++responses <= fault.answers || _tag !== "Events")
        }))
      case "ProgressTwice":
        return Stream.flatMap(
          answers,
          (answer) => Stream.fromArray<WatchResponse>(answer._tag === "Progress" ? [answer, answer] : [answer])
        )
      default:
        return answers
    }
  }

  return { etcd, faults }
}

const silenceNow = (watch: OpenWatch): void => {
  watch.isSilent = true
  watch.silenced.openUnsafe()
}

/** The number of responses after which a fault silences a watch. */
const silentFrom = (fault: Fault | undefined): number | undefined =>
  fault?._tag === "Hung" ? 0 : fault?._tag === "SilentAfter" ? fault.answers : undefined

type Watched = Stream.Stream<WatchResponse, EtcdError>

type About = Pick<Call, "key" | "leaseId">

const decoder = new TextDecoder()

const about = (of: { readonly key: Bytes } | undefined, leaseId?: LeaseId): About => ({
  ...(of === undefined ? {} : { key: typeof of.key === "string" ? of.key : decoder.decode(of.key) }),
  ...(leaseId === undefined ? {} : { leaseId })
})

const keyOf = (step: RequestOp): { readonly key: Bytes } | undefined =>
  step._tag === "Txn" ? undefined : { key: step.request.key }

const failure = ({ key, leaseId, method }: Call, reason: EtcdErrorReason): EtcdError => {
  const name = key ?? leaseId?.toString(16)
  return new EtcdError({ reason, method, ...(name === undefined ? {} : { key: name }) })
}

const withDeadline = <A>(
  call: Call,
  deadline: Duration.Duration,
  operation: Effect.Effect<A, EtcdError>
): Effect.Effect<A, EtcdError> =>
  Effect.timeoutOrElse(operation, {
    duration: deadline,
    orElse: () =>
      Effect.fail(
        failure(call, new DeadlineExceeded({ detail: `injected: no answer within ${formatDuration(deadline)}` }))
      )
  })
