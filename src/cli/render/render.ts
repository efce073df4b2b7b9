/**
 * Keeps a file equal to sets of instances.
 *
 * @module
 */
import { Effect, Queue, Stream } from "effect"
import { discover } from "../../registry/discover.ts"
import type { DiscoveryError } from "../../registry/discovery/DiscoveryError.ts"
import { getInstances } from "../../registry/getInstances.ts"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import type { Registry } from "../../registry/Registry.ts"
import type { RenderPlan } from "./plan.ts"
import { awaitQuiet } from "./quiescence.ts"
import { type Failure, makeWriter } from "./writer.ts"

export { plan, type RenderOptions, type RenderPlan } from "./plan.ts"

/** Reads the services once and writes the file. */
export const once = (plan: RenderPlan): Effect.Effect<void, DiscoveryError | Failure, Registry> =>
  Effect.forEach(
    plan.services,
    (name) => Effect.map(getInstances(name), (set) => [name, set] as const),
    { concurrency: "unbounded" }
  ).pipe(Effect.flatMap(makeWriter(plan)))

/** The first and the longest delay before a retry. */
const retryMillis = { first: 1000, longest: 60_000 } as const

/**
 * Writes the file whenever a set changes, until interrupted.
 *
 * **Details**
 *
 * Writes nothing until the sets of all services are known. While etcd does not answer, the file stays. Fails if
 * rendering, checking or writing the first text fails. Later failures are logged, leave the old file in place, and are
 * retried at the next change, or after at most a minute. Failed reloads, including the first, are retried in the same
 * way.
 */
export const follow = (
  plan: RenderPlan
): Effect.Effect<never, DiscoveryError | Failure, Registry> =>
  Effect.scoped(Effect.gen(function* () {
    const sets = new Map<string, InstanceSet>()
    const changes = yield* Queue.sliding<void>(1)
    const follows = Effect.forEach(
      plan.services,
      (name) =>
        Stream.runForEach(discover(name), (set) => {
          sets.set(name, set)
          return sets.size < plan.services.length ? Effect.void : Queue.offer(changes, undefined)
        }),
      { concurrency: "unbounded", discard: true }
    )
    const write = makeWriter(plan)
    const current = () =>
      plan.services.flatMap((name) => {
        const set = sets.get(name)
        return set === undefined ? [] : [[name, set] as const]
      })
    const log = ({ message }: Error) => Effect.as(Effect.logError(message), true)
    const loop = Effect.gen(function* () {
      let isFirst = true
      let retryAfter: number | undefined
      while (true) {
        const quiet = awaitQuiet(changes, plan.wait)
        yield* retryAfter === undefined ? quiet : Effect.timeoutOption(quiet, retryAfter)
        const hasFailed = yield* Effect.as(write(current()), false).pipe(
          Effect.catchTag("ReloadFailed", log),
          Effect.catchTag("RenderFailed", (error) => isFirst ? Effect.fail(error) : log(error))
        )
        isFirst = false
        retryAfter = hasFailed ? Math.min((retryAfter ?? retryMillis.first / 2) * 2, retryMillis.longest) : undefined
      }
    })
    return yield* Effect.raceFirst(loop, Effect.andThen(follows, Effect.never))
  }))
