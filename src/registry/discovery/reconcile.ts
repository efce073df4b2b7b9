/**
 * The backstop of discovery: compares the keys and revisions that a watch has delivered with those in etcd.
 *
 * @module
 */
import { Duration, Effect, Random } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { KeyRange } from "../../etcd/KeyRange.ts"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import { rangeAll } from "../../etcd/rangeAll.ts"
import type { Settings } from "./DiscoverOptions.ts"

/** The watched state to compare. */
export interface Reconciled {
  readonly differences: (kvs: ReadonlyArray<KeyValue>) => ReadonlySet<string>
  /** The revision of the last change; none before the first list. */
  readonly revision: () => bigint | undefined
  readonly isLive: () => boolean
}

/** The keys that differ, and whether the watch was live all the time. */
export interface Differences {
  readonly keys: ReadonlySet<string>
  readonly wasLive: boolean
}

const none: Differences = { keys: new Set(), wasLive: true }

/**
 * Waits for `reconcileEvery`, jittered by half, and compares once.
 *
 * A change that is still on its way does not count. So a difference counts only if a second comparison, `progressEvery`
 * + `progressTimeout` later, shows it again and no change has arrived in between. If etcd does not answer, nothing
 * counts.
 */
export const findDifferences = (
  etcd: Etcd,
  range: Required<KeyRange>,
  { progressEvery, progressTimeout, reconcileEvery }: Settings,
  { differences, isLive, revision }: Reconciled
): Effect.Effect<Differences> => {
  const compare = Effect.map(rangeAll(etcd, { ...range, keysOnly: true }), ({ kvs }) => differences(kvs))
  const find = Effect.gen(function* () {
    while (revision() !== undefined) {
      const before = revision()
      const wasLive = isLive()
      const first = yield* compare
      if (first.size === 0) return none
      yield* Effect.sleep(Duration.sum(progressEvery, progressTimeout))
      if (revision() === before) return { keys: first.intersection(yield* compare), wasLive: wasLive && isLive() }
    }
    return none
  })
  return Random.next.pipe(
    Effect.flatMap((draw) => Effect.sleep(Duration.times(reconcileEvery, 0.5 + draw))),
    Effect.andThen(find),
    Effect.orElseSucceed(() => none)
  )
}
