/**
 * What is true: a watch of all of etcd from its first revision, kept up by the operator's hand. It knows each write
 * with its revision, whatever happens to the servers, as long as nothing is compacted that it has not seen.
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
  /** Waits until everything that is in etcd now has been recorded, and answers with the revision. */
  readonly catchUp: Effect.Effect<bigint, Error>
  /** etcd is about to begin another life; called while it is down. */
  readonly replaced: Effect.Effect<void>
  /** Asks again where it watches, as when a member is cut off. */
  readonly reconnect: Effect.Effect<void>
  /** Not empty when something was missed: then the oracle is worth nothing. */
  readonly problems: ReadonlyArray<string>
}

/** Records the truth for the lifetime of the scope. */
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
    /** A life may begin compacted, as its snapshot was: with what was there then. */
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
        // An empty etcd is at revision 1, which nobody wrote.
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
