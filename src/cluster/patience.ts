/**
 * Retries inside the storage.
 *
 * Sharding retries a failed `refresh` five times within 250 ms and then stops every entity of the process. An election
 * in etcd takes a second or two. So an operation is retried after any error until its time is up.
 *
 * @module
 */
import { Duration, Effect, Option } from "effect"
import { ClusterError } from "effect/cluster"
import * as Backoff from "../etcd/Backoff.ts"
import type { Etcd } from "../etcd/Etcd.ts"
import { DeadlineExceeded, EtcdError } from "../etcd/EtcdError.ts"
import { Steps } from "../internal/time/Steps.ts"

/** Runs an operation until it succeeds or its time is up. The operation must be safe to repeat. */
export type Patient = <A>(operation: Effect.Effect<A, EtcdError>) => Effect.Effect<A, ClusterError.PersistenceError>

/** Makes a {@link Patient}. It fails after `limit` with the last error. */
export const make = (etcd: Etcd, limit: Duration.Duration): Patient => (operation) =>
  Effect.suspend(() => {
    let last = new EtcdError({
      reason: new DeadlineExceeded({ detail: `no answer within ${Duration.toMillis(limit)} ms` }),
      method: "cluster"
    })
    const backoff = new Steps<void>(Backoff.heartbeat)
    const retry: typeof operation = Effect.catch(operation, (error) => {
      last = error
      return backoff.next(undefined).pipe(
        Effect.flatMap((delay) =>
          Effect.raceFirst(Effect.sleep(Option.getOrElse(delay, () => Duration.zero)), etcd.recovered)
        ),
        Effect.andThen(retry)
      )
    })
    return retry.pipe(
      Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.fail(last) }),
      ClusterError.PersistenceError.refail,
      // Sharding calls the storage every few seconds, outside of any request.
      Effect.withTracerEnabled(false)
    )
  })
