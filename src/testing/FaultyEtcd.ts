/**
 * An {@link Etcd} that fails as it is told, around any other.
 *
 * What is to go wrong is a {@link Script}: a list of {@link Rule}s (which calls, what befalls them), or {@link random}
 * faults from a seed. It can be changed at any time through {@link Faults}, which also keeps a record of all calls. A
 * call that no rule is for goes through untouched.
 *
 * - `unavailable`, `noLeader`, `permissionDenied`, `fails(reason)`: the call fails, nothing has been applied.
 * - `answerLost`: it is applied, and then its answer never comes.
 * - `slow(duration)`: it reaches etcd that much later.
 * - `hung`: it never reaches etcd, and no answer comes.
 * - `leaseLost`, `compaction`, `meanwhile(…)`: something happens in etcd just before the call gets there.
 * - `breaksAfter`, `endsAfter`, `silentAfter`, `progressTwice`: what becomes of a watch. `deafAfter` breaks the contract on
 *   purpose: the watch leaves changes out and says that nothing happened.
 *
 * Calls keep to the contract of `Etcd` otherwise. In particular each call has a deadline (3 seconds by default; a
 * heartbeat has its own timeout) and fails with `DeadlineExceeded` when that has passed. A silent watch fails so after
 * its `progressEvery` and `progressTimeout`.
 *
 * @example The put of a registration is applied, but its answer is lost
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
import { Clock, Context, Deferred, Duration, Effect, Latch, Layer, Random, Stream } from "effect"
import { monotonicMillis, sleepUntil } from "../internal/time/monotonic.ts"
import { type Bytes, Etcd, type LeaseId, type RequestOp, type WatchRequest, type WatchResponse } from "../etcd/Etcd.ts"
import { DeadlineExceeded, EtcdError, type EtcdErrorReason, PermissionDenied, Unavailable } from "../etcd/EtcdError.ts"

/** An operation of `Etcd`. */
export type Method = keyof Etcd

/** A call that was made. */
export interface Call {
  readonly method: Method
  /** Which call of this method it is, from 1. */
  readonly nth: number
  /** The key, or the first of the range; of a Txn, the first that it compares, reads or writes. */
  readonly key?: string
  /** The lease it is about; of a Txn, of its first put. */
  readonly leaseId?: LeaseId
  /** Milliseconds of the epoch at which it was made. */
  readonly at: number
}

/** What befalls a call. Made with the values and functions of this module. */
export type Fault =
  | { readonly _tag: "Fails"; readonly reason: EtcdErrorReason }
  | { readonly _tag: "AnswerLost" }
  | { readonly _tag: "Slow"; readonly by: Duration.Duration }
  | { readonly _tag: "Hung" }
  | { readonly _tag: "Meanwhile"; readonly run: (etcd: Etcd, call: Call) => Effect.Effect<unknown, EtcdError> }
  | { readonly _tag: "BreaksAfter"; readonly answers: number; readonly reason: EtcdErrorReason }
  | { readonly _tag: "EndsAfter"; readonly answers: number }
  | { readonly _tag: "SilentAfter"; readonly answers: number }
  | { readonly _tag: "DeafAfter"; readonly answers: number }
  | { readonly _tag: "ProgressTwice" }

/** The call fails for this reason; nothing was applied. */
export const fails = (reason: EtcdErrorReason): Fault => ({ _tag: "Fails", reason })

/** The call fails: etcd cannot be reached. Nothing was applied. */
export const unavailable: Fault = fails(new Unavailable({ detail: "injected: connection refused" }))

/** The call fails: the member that was asked has no leader. Nothing was applied. */
export const noLeader: Fault = fails(new Unavailable({ detail: "injected: etcdserver: no leader" }))

/** The call fails: the user may not do this. Nothing was applied. */
export const permissionDenied: Fault = fails(
  new PermissionDenied({ detail: "injected: etcdserver: permission denied" })
)

/** The call is applied, and then fails with `DeadlineExceeded` once its deadline has passed. Does nothing to a watch. */
export const answerLost: Fault = { _tag: "AnswerLost" }

/** The call reaches etcd that much later, if its deadline has not passed by then. */
export const slow = (by: Duration.Input): Fault => ({ _tag: "Slow", by: Duration.fromInputUnsafe(by) })

/** The call never reaches etcd and fails once its deadline has passed; a watch is silent from the start. */
export const hung: Fault = { _tag: "Hung" }

/** Something happens in etcd before the call gets there. What it fails with is passed over. */
export const meanwhile = (run: (etcd: Etcd, call: Call) => Effect.Effect<unknown, EtcdError>): Fault => ({
  _tag: "Meanwhile",
  run
})

/** The lease that the call is about is revoked, with its keys, before the call gets there. */
export const leaseLost: Fault = meanwhile((etcd, { leaseId }) =>
  leaseId === undefined ? Effect.void : etcd.leaseRevoke(leaseId)
)

/** All history but the newest revision is compacted before the call gets there. */
export const compaction: Fault = meanwhile((etcd) =>
  Effect.flatMap(etcd.status, ({ header }) => etcd.compact({ revision: header.revision }))
)

/** The watch fails after so many answers; the first is `Created`. Default: after 1, because etcd cannot be reached. */
export const breaksAfter = (
  answers: number = 1,
  reason: EtcdErrorReason = new Unavailable({ detail: "injected: the stream broke" })
): Fault => ({ _tag: "BreaksAfter", answers, reason })

/** The watch ends, without an error, after so many answers. No `Etcd` may do that. Default: after 1. */
export const endsAfter = (answers: number = 1): Fault => ({ _tag: "EndsAfter", answers })

/**
 * The watch emits nothing more after so many answers. It fails with `DeadlineExceeded` once `progressEvery` and
 * `progressTimeout` have passed, as the contract of `Etcd` wants. Default: after 1.
 */
export const silentAfter = (answers: number = 1): Fault => ({ _tag: "SilentAfter", answers })

/** After so many answers the watch goes on but leaves out every change. No `Etcd` may do that. Default: after 1. */
export const deafAfter = (answers: number = 1): Fault => ({ _tag: "DeafAfter", answers })

/** The watch says each `Progress` twice. */
export const progressTwice: Fault = { _tag: "ProgressTwice" }

/** A fault and the calls it is for: those that match everything that is given. */
export interface Rule {
  readonly fault: Fault
  /** Default: every method that the fault can befall. */
  readonly method?: Method | ReadonlyArray<Method>
  /** The key of the call, or a test of it; calls without a key do not match. */
  readonly key?: string | ((key: string) => boolean)
  /** Only from the nth matching call on, counted from 1 since the rule was set. */
  readonly nth?: number
  /** For how many of them. Default: 1 with `nth`, otherwise all. */
  readonly times?: number
}

/** What is to go wrong: rules, of which the first that matches counts, or {@link random}. */
export type Script = ReadonlyArray<Rule> | RandomScript

/** Faults by chance. */
export interface RandomScript {
  /** The same seed gives the same faults: the nth call of a method fares the same, whatever happens in between. */
  readonly seed: string | number
  /** The part of all calls that something befalls, 0 to 1. */
  readonly rate: number
  /** What may befall a call; one that can befall its method is drawn. Default: {@link transient}. */
  readonly faults?: ReadonlyArray<Fault>
}

/** What a healthy client survives without anyone noticing more than a delay. */
export const transient: ReadonlyArray<Fault> = [
  unavailable,
  noLeader,
  answerLost,
  slow("500 millis"),
  hung,
  breaksAfter(1),
  breaksAfter(3),
  progressTwice
]

/** Faults by chance, reproducible from the seed. */
export const random = (script: RandomScript): Script => script

/** What steers a faulty etcd and tells what was asked of it. */
export interface Faults {
  /** Replaces the script. Watches that are open stay as they are. */
  readonly set: (script: Script) => Effect.Effect<void>
  /** Nothing goes wrong any more. Watches that were silenced stay silent until they fail. */
  readonly clear: Effect.Effect<void>
  /** From now on nothing can be reached: calls fail with `Unavailable`, and so does every open watch. */
  readonly outage: Effect.Effect<void>
  /** From now on nothing is answered: calls hang until their deadlines, and open watches are silenced. */
  readonly blackhole: Effect.Effect<void>
  /** Fails every open watch. Default reason: `Unavailable`. */
  readonly breakWatches: (reason?: EtcdErrorReason) => Effect.Effect<void>
  /** Silences every open watch: it emits nothing more and fails with `DeadlineExceeded` in time. */
  readonly silenceWatches: Effect.Effect<void>
  /** The calls so far in order, or those of one method. */
  readonly calls: (method?: Method) => Effect.Effect<ReadonlyArray<Call>>
  /** The watches that are open now. */
  readonly openWatches: Effect.Effect<ReadonlyArray<Call>>
}

/** The service key of {@link Faults}. */
export const Faults: Context.Service<Faults, Faults> = Context.Service("@effect-etcd/discovery/testing/Faults")

/** The settings of a faulty etcd. */
export interface Options {
  /** What goes wrong from the start. Default: nothing. */
  readonly script?: Script
  /** How long a call waits for its answer. Default: 3 seconds. */
  readonly requestTimeout?: Duration.Input
}

/** An etcd and what steers it. */
export interface FaultyEtcd {
  readonly etcd: Etcd
  readonly faults: Faults
}

/** Wraps an etcd. */
export const make = (etcd: Etcd, options: Options = {}): Effect.Effect<FaultyEtcd> =>
  Effect.sync(() => wrap(etcd, options))

/** Wraps the {@link Etcd} of the context and steers it with {@link Faults}. */
export const layer = (options?: Options): Layer.Layer<Etcd | Faults, never, Etcd> =>
  Layer.effectContext(Effect.gen(function* () {
    const { etcd, faults } = yield* make(yield* Etcd, options)
    return Context.make(Etcd, etcd).pipe(Context.add(Faults, faults))
  }))

/** Decides what befalls a call. */
type Decide = (call: Call) => Fault | undefined

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
      return befall(call, inner.watch(request), fault).pipe(
        Stream.tap(() => Effect.flatMap(monotonicMillis, (now) => passOn(watch, fault, now))),
        Stream.interruptWhen(Effect.raceFirst(Deferred.await(watch.broken), silence(watch, request)))
      )
    }))

  /** Lets an answer through, unless the watch is silent. */
  const passOn = (watch: OpenWatch, fault: Fault | undefined, now: number): Effect.Effect<void> => {
    if (watch.isSilent) return Effect.never
    watch.answers += 1
    watch.answeredAt = now
    if (watch.answers === silentFrom(fault)) silenceNow(watch)
    return Effect.void
  }

  /** Fails once a silenced watch should have heard from etcd. */
  const silence = Effect.fnUntraced(function* (watch: OpenWatch, request: WatchRequest) {
    yield* watch.silenced.await
    const { progressEvery = "10 seconds", progressTimeout = "5 seconds" } = request
    const patience = Duration.sum(Duration.fromInputUnsafe(progressEvery), Duration.fromInputUnsafe(progressTimeout))
    yield* sleepUntil(watch.answeredAt + Duration.toMillis(patience))
    const detail = `injected: the watch was silent for ${Duration.format(patience)}`
    return yield* failure(watch.call, new DeadlineExceeded({ detail }))
  })

  const faults: Faults = {
    set: (script) =>
      Effect.sync(() => {
        decide = decider(script)
      }),
    clear: Effect.suspend(() => faults.set([])),
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
    status: unary("status", {}, inner.status)
  }

  /** A watch as the fault makes it. */
  const befall = (call: Call, answers: Watched, fault: Fault | undefined): Watched => {
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
      case "DeafAfter":
        return Stream.unwrap(Effect.sync(() => {
          let heard = 0
          return Stream.filter(answers, ({ _tag }) => ++heard <= fault.answers || _tag !== "Events")
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

/** After how many answers a fault makes a watch silent. */
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
        failure(call, new DeadlineExceeded({ detail: `injected: no answer within ${Duration.format(deadline)}` }))
      )
  })

const ofWatch: ReadonlySet<Fault["_tag"]> = new Set([
  "BreaksAfter",
  "EndsAfter",
  "SilentAfter",
  "DeafAfter",
  "ProgressTwice"
])

const canBefall = (fault: Fault, method: Method): boolean =>
  method === "watch" ? fault._tag !== "AnswerLost" : !ofWatch.has(fault._tag)

const decider = (script: Script): Decide => "seed" in script ? randomDecider(script) : ruleDecider(script)

const ruleDecider = (rules: ReadonlyArray<Rule>): Decide => {
  const seen = rules.map(() => 0)
  return (call) => {
    let chosen: Fault | undefined
    rules.forEach((rule, index) => {
      if (!matches(rule, call)) return
      const nth = (seen[index] ?? 0) + 1
      seen[index] = nth
      const from = rule.nth ?? 1
      const times = rule.times ?? (rule.nth === undefined ? Infinity : 1)
      if (nth >= from && nth < from + times) chosen ??= rule.fault
    })
    return chosen
  }
}

const matches = ({ fault, key, method }: Rule, call: Call): boolean => {
  if (!canBefall(fault, call.method)) return false
  if (method !== undefined && !(typeof method === "string" ? [method] : method).includes(call.method)) return false
  if (key === undefined) return true
  return call.key !== undefined && (typeof key === "string" ? key === call.key : key(call.key))
}

const randomDecider = ({ faults = transient, rate, seed }: RandomScript): Decide => {
  const dice = new Map<Method, Random.Random>()
  return ({ method }) => {
    const die = dice.get(method) ?? Effect.runSync(Random.withSeed(Effect.service(Random.Random), `${seed}/${method}`))
    dice.set(method, die)
    const isHit = die.nextDoubleUnsafe() < rate
    const drawn = die.nextDoubleUnsafe()
    const possible = faults.filter((fault) => canBefall(fault, method))
    return isHit ? possible[Math.floor(drawn * possible.length)] : undefined
  }
}
