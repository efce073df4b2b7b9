/**
 * The data of the pages: the catalog of the namespace from one watch, and shared readings of everything else.
 *
 * @module
 */
import { Clock, Effect, Schedule, type Scope, Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { prefix } from "../etcd/KeyRange.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { Latest } from "../internal/Latest.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { discoverAll } from "../registry/discoverAll.ts"
import type { Registry } from "../registry/Registry.ts"
import { Actions } from "./Actions.ts"
import { Fleet, sampleMillis } from "./Fleet.ts"
import { Knowledge } from "./Knowledge.ts"
import { type Read, type Reading, Readings } from "./Readings.ts"
import type { Settings } from "./options.ts"

/** See the module's description. */
export interface Source {
  readonly etcd: Etcd
  readonly settings: Settings
  /** Milliseconds since the epoch, from a monotonic clock, for computing ages. */
  readonly now: Effect.Effect<number>
  readonly fleet: Fleet
  readonly actions: Actions
  /** The freshness of the fleet. */
  readonly knowledge: () => Knowledge
  /** Reads other data; see {@link Readings.get}. */
  readonly read: <A>(key: string, read: Effect.Effect<Read<A>, EtcdError>) => Effect.Effect<Reading<A>>
  /** Increments when a page may have to be rendered again. */
  readonly version: () => number
  /** Emits the current version, then newer ones. A slow reader skips versions. */
  readonly versions: Stream.Stream<number>
  /** Signals that a page may have to be rendered again. */
  readonly changed: () => void
}

/** How often the console checks that etcd answers. */
const confirmEvery = "2 seconds"

/** How long the console waits before it retries a refused catalog. */
const refusedRetryDelay = "5 seconds"

/** Starts the watch, which ends with the scope. */
export const make = Effect.fnUntraced(function* (
  settings: Settings
): Effect.fn.Return<Source, never, Etcd | Registry | Scope.Scope> {
  const etcd = yield* Etcd
  const scope = yield* Effect.scope
  const epochMillis = (yield* Clock.currentTimeMillis) - (yield* monotonicMillis)
  const now = Effect.map(monotonicMillis, (millis) => millis + epochMillis)
  const versions = new Latest<number>()
  let version = 0
  const changed = (): void => versions.set(++version)
  changed()

  const fleet = new Fleet(settings.prefix)
  const readings = new Readings(scope, now, changed)
  let confirmedAt = 0
  let refusal: string | undefined
  let probeFailure: string | undefined

  // Short intervals: pages show the age of the last confirmation.
  yield* discoverAll({ progressEvery: "3 seconds", progressTimeout: "2 seconds" }).pipe(
    Stream.runForEach((catalog) =>
      Effect.map(now, (at) => {
        refusal = undefined
        fleet.apply(catalog, at)
        if (catalog.freshness._tag === "Live") confirmedAt = at
        changed()
      })
    ),
    Effect.tapError((error) =>
      Effect.sync(() => {
        refusal = error.message
        changed()
      })
    ),
    Effect.ignore,
    Effect.repeat(Schedule.spaced(refusedRetryDelay)),
    Effect.forkScoped({ startImmediately: true })
  )

  // With `countOnly`, etcd answers from its index.
  const probe = Effect.gen(function* () {
    const sentAt = yield* now
    const answer = yield* Effect.result(etcd.range({ ...prefix(settings.prefix), countOnly: true }))
    probeFailure = answer._tag === "Failure" ? answer.failure.message : undefined
    if (answer._tag === "Success" && fleet.catalog?.freshness._tag === "Live") {
      confirmedAt = Math.max(confirmedAt, sentAt)
    }
    changed()
  })
  yield* Effect.forkScoped(Effect.repeat(probe, Schedule.spaced(confirmEvery)), { startImmediately: true })
  yield* Effect.forkScoped(Effect.repeat(Effect.sync(() => fleet.sample()), Schedule.spaced(sampleMillis)))

  const source: Omit<Source, "actions"> = {
    etcd,
    settings,
    now,
    fleet,
    knowledge: () => {
      const { catalog } = fleet
      if (catalog === undefined) return Knowledge.Unknown({ failure: refusal ?? probeFailure })
      const { freshness, revision } = catalog
      const failure = freshness._tag === "Stale" ? freshness.cause.message : probeFailure
      return Knowledge.Known({ revision, confirmedAt, failure })
    },
    read: (key, read) => readings.get(key, read),
    version: () => version,
    versions: versions.changes,
    changed
  }
  return { ...source, actions: new Actions(source, scope) }
})
