/**
 * Access to the administration of the cluster behind an {@link Etcd}.
 *
 * @module
 */
import { Effect, Result } from "effect"
import type { MemberCalls } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { type Check, checkOptions, type InvalidOption } from "../internal/options.ts"

/** The calls to the member at an endpoint, which is checked before anything is sent. */
export const callsTo = (of: string, endpoint: string): Effect.Effect<MemberCalls, InvalidOption, Etcd> =>
  Effect.flatMap(Etcd, ({ administration }) =>
    checked(of, (check) => {
      const calls = administration.at(check.text("endpoint", endpoint))
      return Result.isSuccess(calls) ? calls.success : check.refuse("endpoint", calls.failure.value, calls.failure.rule)
    }))

/** Checks the arguments of one function. */
export const checked = <A>(of: string, body: (check: Check) => A): Effect.Effect<A, InvalidOption> =>
  Effect.suspend(() => Effect.fromResult(checkOptions(of, body)))
