/**
 * The truth: a watch of all keys from the first revision, through the operator. It records each write with its
 * revision, whatever happens to the servers, as long as nothing is compacted before it was recorded.
 *
 * @module
 */
import { Effect, Exit, type Scope } from "effect"
import { eventually } from "../harness/real.ts"
import type { Recorder } from "./History.ts"
import type { Operator, Watched } from "./Operator.ts"

export interface Truth {
  readonly epoch: number
  /** Everything up to this revision has been recorded. */
  readonly revision: bigint
  /** Waits until everything in etcd has been recorded, and returns the revision. */
  readonly catchUp: Effect.Effect<bigint, Error>
  /** Begins another life of etcd. Called while etcd is down. */
  readonly replaced: Effect.Effect<void>
  /** Opens the watch again, for example when a member is partitioned. */
  readonly reconnect: Effect.Effect<void>
  /** Not empty if a write was missed: the oracle cannot judge then. */
  readonly problems: ReadonlyArray<string>
}

/** Records the truth until the scope closes. */
export const makeTruth = (
  recorder: Recorder,
  operator: Operator,
  namespace: string
): Effect.Effect<Truth, never, Scope.Scope> =>
  Effect.gen(function* () {
    let epoch = 0
    let revision = 0n
    let open = true
    let stop: () => void = () => {}
    let timer: ReturnType<typeof setTimeout> | undefined
    const problems: Array<string> = []

    const take = (events: ReadonlyArray<Watched>) => {
      for (const { key, lease, revision: at, value } of events) {
        if (at < revision) {
          problems.push(`revision ${at} of life ${epoch} came after ${revision}`)
          continue
        }
        revision = at
        if (key.startsWith(`${namespace}/`)) {
          recorder.add({ _tag: "Wrote", epoch, revision: at, key, value, lease })
        }
      }
    }
    /** A life may begin compacted, with the keys of its snapshot. */
    const begin = (at: bigint) => {
      stop = Effect.runCallback(eventually(operator.read(`${namespace}/`, at)), {
        onExit: (exit) => {
          if (Exit.isFailure(exit)) return
          take([...exit.value.found].sort((a, b) => Number(a.revision - b.revision)))
          revision = at
          watch()
        }
      })
    }
    const watch = () => {
      if (!open) return
      let ended = false
      const mine = operator.watch(revision + 1n, {
        events: (events) => {
          if (!ended) take(events)
        },
        end: (reason) => {
          if (ended) return
          ended = true
          const compacted = /"compact_revision":"(\d+)"/.exec(reason)?.[1]
          if (compacted !== undefined && epoch > 0 && revision === 0n) return begin(BigInt(compacted))
          if (reason.includes("compacted")) problems.push(`life ${epoch} after ${revision}: ${reason}`)
          timer = setTimeout(watch, 50)
        }
      })
      stop = () => {
        ended = true
        mine()
      }
    }
    const restart = () => {
      stop()
      clearTimeout(timer)
      watch()
    }

    yield* Effect.acquireRelease(Effect.sync(watch), () =>
      Effect.sync(() => {
        open = false
        clearTimeout(timer)
        stop()
      }))

    return {
      get epoch() {
        return epoch
      },
      get revision() {
        return revision
      },
      problems,
      catchUp: Effect.gen(function* () {
        // An empty etcd is at revision 1, without a write.
        const { revision: current } = yield* eventually(operator.read(`${namespace}/`))
        yield* eventually(
          Effect.suspend(() => revision >= current || current <= 1n ? Effect.void : Effect.fail(`${revision}`)),
          { late: () => new Error(`the truth is at ${revision}, etcd at ${current}`) }
        )
        return current
      }),
      replaced: Effect.sync(() => {
        epoch++
        revision = 0n
        recorder.add({ _tag: "Replaced", epoch })
        restart()
      }),
      reconnect: Effect.sync(restart)
    }
  })
