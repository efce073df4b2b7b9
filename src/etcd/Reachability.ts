/**
 * Whether etcd answers, and the wait for its return. A client has one.
 *
 * **Details**
 *
 * etcd is away from the first call without a response until the first response to a call that requires a leader. A
 * refusal is a response. Everything that waits for etcd races its backoff against {@link Reachability.recovered}, so it
 * continues at once when etcd is back.
 *
 * While etcd is away and something waits, one fiber probes it. The delay between probes grows with the outage: it is at
 * most 100 ms and 3 % of the outage so far, and at most 5 seconds. Up to half of it is random, which spreads the probes of
 * many clients.
 *
 * A server may answer probes and fail other calls at once: etcd with too many proposals, a proxy that limits writes. Each
 * failed call is then an outage of milliseconds, and its end must not end the backoff of the caller again and again. So
 * the end of an outage shorter than 100 ms is reported after a delay, which grows by 5 % each time, if etcd returned less
 * than 10 seconds before as well.
 *
 * @module
 */
import { Duration, Effect, Option, Random } from "effect"
import { Steps } from "../internal/time/Steps.ts"
import { fullJitter } from "./Backoff.ts"

/** See the module's description. */
export interface Reachability {
  /** Records a response of etcd to a call that requires a leader. */
  readonly answered: () => void
  /** Records a call without a response. */
  readonly failed: () => void
  /** Whether the newest call got no response. */
  readonly isAway: () => boolean
  /**
   * Completes when etcd answers again after it was away. If etcd is not away, waits for the end of the next outage.
   *
   * Interrupting it stops the probing if nothing else waits.
   */
  readonly recovered: Effect.Effect<void>
}

/** What {@link make} needs. */
export interface ReachabilityConfig {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Sends one call that requires a leader, to each endpoint. `answered` and `failed` record the outcome. */
  readonly probe: (limitMillis: number) => Effect.Effect<void>
  /** Runs an effect for as long as the client lives. */
  readonly run: (effect: Effect.Effect<void>) => void
}

/** The time limit of a probe is this fraction of the outage so far, within these bounds. */
const minLimitMillis = 500
const limitFraction = 0.1

/** The delay between probes: 100 ms and a fraction of the outage so far, at most 5 seconds. */
const minDelayMillis = 100
const delayFraction = 0.03
const maxDelayMillis = Duration.toMillis("5 seconds")

/** The return from a short outage is reported late if it follows the last return within `settledMillis`. */
const shortMillis = 100
const settledMillis = Duration.toMillis("10 seconds")
const reportDelays = fullJitter("100 millis", "5 seconds", 1.05)

export const make = ({ now, probe, run }: ReachabilityConfig): Reachability => {
  const waiting = new Set<() => void>()
  const delays = new Steps<void>(reportDelays)
  let isAway = false
  let isProbing = false
  let isDelayed = false
  let endPause = () => {}
  let awaySince = -Infinity
  let returnedAt = -Infinity

  const report = () => {
    isDelayed = false
    returnedAt = now()
    const resumed = [...waiting]
    waiting.clear()
    for (const resume of resumed) resume()
  }

  const reportLater = Effect.gen(function* () {
    yield* Effect.sleep(Option.getOrThrow(yield* delays.next(undefined)))
    const isDue = isDelayed && !isAway
    isDelayed = false
    if (isDue) report()
  })

  /** The next answer. */
  const answer = Effect.callback<void>((resume) => {
    endPause = () => resume(Effect.void)
  })

  const probing = Effect.gen(function* () {
    while (isAway && waiting.size > 0) {
      yield* probe(Math.max(minLimitMillis, (now() - awaySince) * limitFraction))
      if (!isAway || waiting.size === 0) break
      const longest = Math.min(maxDelayMillis, minDelayMillis + (now() - awaySince) * delayFraction)
      yield* Effect.raceFirst(Effect.sleep(longest * (1 - (yield* Random.next) / 2)), answer)
    }
  }).pipe(Effect.ensuring(Effect.sync(() => {
    isProbing = false
  })))

  const startProbing = () => {
    if (isProbing || !isAway || waiting.size === 0) return
    isProbing = true
    run(probing)
  }

  return {
    answered: () => {
      if (!isAway) return
      isAway = false
      endPause()
      const isSettled = now() - returnedAt >= settledMillis
      if (isSettled) delays.reset()
      if (isSettled || now() - awaySince >= shortMillis) report()
      else if (!isDelayed) {
        isDelayed = true
        run(reportLater)
      }
    },
    failed: () => {
      if (!isAway) awaySince = now()
      isAway = true
      startProbing()
    },
    isAway: () => isAway,
    recovered: Effect.callback((resume) => {
      const wake = () => resume(Effect.void)
      waiting.add(wake)
      startProbing()
      return Effect.sync(() => waiting.delete(wake))
    })
  }
}
