/**
 * One watch in etcd for all consumers of the same keys.
 *
 * It has no value yet (nothing is emitted), is `Live`, or is `Stale` (the last value stays). It ends if etcd refuses
 * before the first value, when a finite `retry` ends, and with any defect.
 *
 * @module
 */
import { Cause, Clock, Effect, Exit, FiberHandle, Metric, Option, type Scope, type Stream } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { KeyRange } from "../../etcd/KeyRange.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type Followed } from "../../etcd/follow.ts"
import { Freshness } from "../../etcd/Freshness.ts"
import { Latest } from "../../internal/Latest.ts"
import { lasting } from "../../internal/lasting.ts"
import { logError, logWarning } from "../../internal/log.ts"
import { monotonicMillis, sleepUntil } from "../../internal/time/monotonic.ts"
import { type DiscoveryError, DiscoveryRefused } from "./DiscoveryError.ts"
import type { Settings } from "./DiscoverOptions.ts"
import { type Currency, lists, rejectedValues, repairs } from "./metrics.ts"
import type { Commit, KeysReport, Model } from "./Model.ts"
import { findDifferences } from "./reconcile.ts"
import type { RejectionLog } from "./RejectionLog.ts"

/** The keys to watch, and their model. */
export interface SharedWatchOptions<A> {
  readonly etcd: Etcd
  /** The label of its counters. */
  readonly service: string
  readonly currency: Currency
  /** The prefix of the watched keys. */
  readonly prefix: string
  readonly range: Required<KeyRange>
  readonly settings: Settings
  readonly model: Model<A>
  readonly rejections: RejectionLog
  /** Runs when the watch ends by itself, before its consumers end, so that later consumers start a new watch. */
  readonly onEnd: Effect.Effect<void>
}

/** Watches for the lifetime of a scope. Returns the values, for any number of consumers. */
export const make = Effect.fnUntraced(function* <A>(
  { currency, etcd, model, onEnd, prefix, range, rejections, service, settings }: SharedWatchOptions<A>
): Effect.fn.Return<Stream.Stream<A, DiscoveryError>, never, Scope.Scope> {
  for (const counter of [lists, rejectedValues, repairs]) yield* Metric.update(counter(service), 0)
  const values = new Latest<A, DiscoveryError>()
  const following = yield* FiberHandle.make()
  const releasing = yield* FiberHandle.make()
  const quoted = JSON.stringify(prefix)
  const clock = yield* Clock.Clock
  let revision: bigint | undefined
  let freshness: Freshness = Freshness.Live()

  const publish = () => {
    if (revision !== undefined) values.set(model.value(revision, freshness))
  }

  /** Releases held instances in time. Runs while there are any. */
  const releases: Effect.Effect<void> = Effect.gen(function* () {
    for (let next = model.nextRelease(); next !== undefined; next = model.nextRelease()) {
      yield* sleepUntil(next)
      if (model.release(yield* monotonicMillis)) publish()
    }
  })

  /** Shows a report to the consumers. Returns what is left to do. */
  const commit = (report: KeysReport, change: Commit): Effect.Effect<void> | undefined => {
    const now = Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const rejected = change(now)
    revision = report.revision
    freshness = Freshness.Live()
    currency.staleSince = undefined
    publish()
    const holds = model.nextRelease() !== undefined
    if (report._tag === "Changed" && !holds && rejected.length === 0) return undefined
    return Effect.gen(function* () {
      if (holds) yield* FiberHandle.run(releasing, releases, { onlyIfMissing: true })
      if (report._tag === "Listed") yield* Metric.update(lists(service), 1)
      if (rejected.length > 0) yield* rejections.report(service, rejected, now)
    })
  }

  const keep = (report: KeysReport): Effect.Effect<void> | undefined => {
    const prepared = model.prepare(report)
    return typeof prepared === "function" ?
      commit(report, prepared) :
      Effect.flatMap(prepared, (change) => commit(report, change) ?? Effect.void)
  }

  const interrupt = Effect.fnUntraced(function* (cause: EtcdError) {
    freshness = Freshness.Stale({ since: yield* Clock.currentTimeMillis, cause })
    currency.staleSince ??= yield* monotonicMillis
    publish()
    const consequence = revision === undefined ? "nothing is known yet" : "the last known instances stay"
    yield* logWarning(`lost the watch on ${quoted}; ${consequence}, reconnecting: ${cause.message}`)
  })

  const report = (followed: Followed): Effect.Effect<void> | undefined => {
    switch (followed._tag) {
      case "Listed":
      case "Changed":
        return keep(followed)
      case "Interrupted":
        return interrupt(followed.cause)
      case "Resumed":
        freshness = Freshness.Live()
        currency.staleSince = undefined
        publish()
        return undefined
    }
  }

  /** Ends the watch and its consumers with a cause. */
  const end = (cause: Cause.Cause<EtcdError>): Effect.Effect<void> => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.void
    const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
    const exit: Exit.Exit<never, DiscoveryError> = failure === undefined ?
      Exit.failCause(cause as Cause.Cause<never>) :
      Exit.fail(new DiscoveryRefused({ prefix, cause: failure }))
    const log = failure === undefined ? logError(`discovery of ${quoted} ended with a defect`, cause) : Effect.void
    // End the values last: when the last consumer leaves, this fiber is interrupted.
    return log.pipe(Effect.andThen(onEnd), Effect.andThen(Effect.sync(() => values.end(exit))))
  }

  const start = FiberHandle.run(
    following,
    Effect.suspend(() => follow(etcd, { ...settings, range, isAccepted: revision !== undefined }, report)).pipe(
      Effect.catchCause(end)
    )
  )

  const reconcile = Effect.gen(function* () {
    const { keys, wasLive } = yield* findDifferences(etcd, range, settings, {
      differences: model.differences.bind(model),
      revision: () => revision,
      isLive: () => Freshness.$is("Live")(freshness)
    })
    if (keys.size === 0) return
    if (wasLive) yield* Metric.update(repairs(service), keys.size)
    yield* logWarning(`reconciliation found ${keys.size} stale keys under ${quoted}; relisting`, [...keys])
    yield* start
  })

  yield* start
  yield* Effect.forkScoped(Effect.catchCause(lasting(reconcile), end))
  return values.changes
})
