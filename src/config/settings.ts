/**
 * The shared options of live configuration.
 *
 * @module
 */
import { Cause, type Duration, Effect, type Result, type Schedule, type Scope } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import type { Etcd } from "../etcd/Etcd.ts"
import { EtcdError, Unknown } from "../etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "../etcd/follow.ts"
import { logError } from "../internal/log.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"

/**
 * The options of every watch on configuration.
 *
 * @since 0.1.0
 * @category options
 */
export interface WatchOptions {
  /** How often etcd reports progress on an idle watch. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to respond before the watch is replaced. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
  /** The schedule of retries after a failure. Default: `Backoff.standard`, which never ends. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
}

/** Checks the key or the prefix, and the options. */
export const settingsOf = (
  of: string,
  [name, text]: readonly [name: string, text: string],
  options: WatchOptions
): Result.Result<Omit<FollowOptions, "range">, InvalidOption> =>
  checkOptions(of, (check) => {
    check.text(name, text)
    if (text === "" || !text.isWellFormed()) check.refuse(name, text, "it must be well-formed text that is not empty")
    return {
      progressEvery: check.duration("progressEvery", options.progressEvery ?? "10 seconds"),
      progressTimeout: check.duration("progressTimeout", options.progressTimeout ?? "5 seconds"),
      retry: check.schedule("retry", options.retry ?? Backoff.standard)
    }
  })

/**
 * Follows a range until the scope closes.
 *
 * Runs `onEnd` if following ends earlier: with a failure, or with a defect such as one of the user's `retry` schedule.
 * The state then shows this error as the reason why it is stale.
 */
export const followScoped = (
  etcd: Etcd,
  options: FollowOptions,
  report: (followed: Followed) => Effect.Effect<void>,
  onEnd: (cause: Cause.Cause<EtcdError>, error: EtcdError) => Effect.Effect<void>
): Effect.Effect<void, never, Scope.Scope> =>
  follow(etcd, options, report).pipe(
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause)
      const failure = Cause.squash(cause)
      if (failure instanceof EtcdError) return onEnd(cause, failure)
      const error = new EtcdError({
        reason: new Unknown({ detail: `configuration is no longer followed: ${failure}` }),
        method: "watch",
        cause: failure
      })
      return Effect.andThen(
        logError(error.message, cause),
        onEnd(cause, error)
      )
    }),
    Effect.forkScoped({ startImmediately: true }),
    Effect.asVoid
  )
