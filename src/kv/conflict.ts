/**
 * Optimistic writes: the error for a conflict, and the schedule under which an attempt is repeated.
 *
 * @module
 */
import { Effect, Option, Result, Schedule } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { Steps } from "../internal/time/Steps.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const UpdateConflictBase: TaggedErrorClass<"UpdateConflict", {
  /** The key that another client wrote during the last attempt. */
  readonly key: string
  readonly attempts: number
}> = TaggedErrorClass("UpdateConflict")

/**
 * The last attempt of an optimistic write failed: others wrote a key after it was read.
 *
 * @since 0.1.0
 * @category errors
 */
export class UpdateConflict extends UpdateConflictBase {
  override get message(): string {
    return `cannot update ${
      JSON.stringify(this.key)
    }: others wrote it during each of ${this.attempts} attempts. Allow more attempts with \`retry\`.`
  }
}

/** Up to 20 retries after 10 ms doubling up to 1 s, with full jitter. */
const defaultRetry: Schedule.Schedule<unknown> = Schedule.max([
  Backoff.fullJitter("10 millis", "1 second"),
  Schedule.recurs(20)
])

/** Repeats an attempt while it returns the key of a conflict. Failures of the attempt pass through. */
export const retryConflicts = Effect.fnUntraced(function* <A, E, R>(
  attempt: Effect.Effect<Result.Result<A, string>, E, R>,
  retry: Schedule.Schedule<unknown> = defaultRetry
): Effect.fn.Return<A, E | UpdateConflict, R> {
  const steps = new Steps(retry)
  for (let attempts = 1;; attempts++) {
    const written = yield* attempt
    if (Result.isSuccess(written)) return written.success
    const delay = yield* steps.next(undefined)
    if (Option.isNone(delay)) return yield* new UpdateConflict({ key: written.failure, attempts })
    yield* Effect.sleep(delay.value)
  }
})
