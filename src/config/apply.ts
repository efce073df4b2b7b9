import { Effect, Option, Stream } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { ConfigRefError } from "./ConfigRefError.ts"
import { type ConfigState, isSameValue } from "./ConfigState.ts"
import type { ConfigSchema } from "./decode.ts"
import { followKey, type Options } from "./followKey.ts"

/**
 * The options of {@link apply}.
 *
 * @since 0.1.0
 * @category options
 */
export interface ApplyOptions<E = never, R = never> extends Options {
  /**
   * Whether a newer value interrupts the running effect or waits for its end. In both cases the effect and its
   * finalizers have ended before the newest value is applied. Default: `"interrupt"`.
   */
  readonly whenNewer?: "interrupt" | "finish"
  /** The effect for an absent key. Default: none; a running effect then continues. */
  readonly whenAbsent?: Effect.Effect<unknown, E, R>
}

/**
 * Runs an effect with the newest good value of a configuration key, now and after each change.
 *
 * **Details**
 *
 * One effect runs at a time. Of the values that arrive meanwhile, only the newest is applied. Each write counts, even
 * of an equal value. Bad values, lost connections and restarts of etcd do not count as changes. The effect may run
 * forever, such as a server: with `whenNewer: "interrupt"` each newer value restarts it.
 *
 * Fails as the effect and {@link stream} do. To continue after a failure of the effect, catch the error inside it. A
 * defect of the effect ends `apply` with that defect. Interruption also interrupts the running effect. Starts one watch
 * in one fiber. Writes nothing.
 *
 * **Example**
 *
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { ConfigRef } from "@effect-etcd/discovery/config"
 * import { Deferred, Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   const applied = yield* Deferred.make<number>()
 *   yield* Effect.forkScoped(
 *     ConfigRef.apply("/config/limits", Limits, (limits) => Deferred.succeed(applied, limits.requestsPerSecond))
 *   )
 *   yield* etcd.put({ key: "/config/limits", value: `{ "requestsPerSecond": 100 }` })
 *   assert.equal(yield* Deferred.await(applied), 100)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const apply = <A, E = never, R = never, E2 = never, R2 = never>(
  key: string,
  schema: ConfigSchema<A>,
  effect: (value: A) => Effect.Effect<unknown, E, R>,
  options: ApplyOptions<E2, R2> = {}
): Effect.Effect<never, E | E2 | ConfigRefError, R | R2 | Etcd> => {
  const { whenAbsent, whenNewer = "interrupt", ...rest } = options
  return Effect.scoped(Effect.gen(function* () {
    const { changes } = yield* followKey("ConfigRef.apply", key, schema, rest)

    /** The newest state that differs from `applied`. The stream ends only with an error. */
    const awaitNewer = (applied: ConfigState<A> | undefined): Effect.Effect<ConfigState<A>, ConfigRefError> =>
      changes.pipe(
        Stream.filter((state) =>
          (state._tag === "Present" || whenAbsent !== undefined) &&
          (applied === undefined || !isSameValue(state, applied))
        ),
        Stream.runHead,
        Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed }))
      )

    let applied: ConfigState<A> | undefined
    while (true) {
      const state: ConfigState<A> = yield* awaitNewer(applied)
      applied = state
      const applying: Effect.Effect<unknown, E | E2, R | R2> = state._tag === "Present" ?
        Effect.suspend(() => effect(state.value)) :
        whenAbsent ?? Effect.void
      yield* whenNewer === "finish" ? applying : Effect.raceFirst(applying, awaitNewer(applied))
    }
  }))
}
