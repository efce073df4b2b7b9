import { Effect, Option, Stream } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { ConfigError } from "./ConfigError.ts"
import { ConfigState } from "./ConfigState.ts"
import type { ConfigSchema } from "./decode.ts"
import { followConfig, type WatchConfigOptions } from "./followConfig.ts"

/** How a configuration is applied. */
export interface OnConfigChangeOptions<E = never, R = never> extends WatchConfigOptions {
  /**
   * What becomes of an apply in progress when a newer value comes: it is interrupted, or it may finish. Either way it has
   * ended, with its finalizers, before the newest value is applied. Default: `"interrupt"`.
   */
  readonly whenNewer?: "interrupt" | "finish"
  /** Applied when the key is absent. Default: what was applied last stays, and goes on if it still runs. */
  readonly whenAbsent?: Effect.Effect<unknown, E, R>
}

/**
 * Applies the newest good value of a configuration key, now and after each change, for as long as it is run.
 *
 * One apply runs at a time. Values that come while it runs are skipped except for the newest; each write counts, even of
 * the same value. Bad values, breaks and restarts of etcd are no change. An apply may run for ever, such as a server
 * that is started with the configuration: with `whenNewer: "interrupt"` it is restarted with the newest.
 *
 * Fails as `apply` does, and as {@link watchConfig}; to go on after a failed apply, catch it inside. Interrupting it
 * interrupts the apply in progress. One watch in one fiber; nothing is written.
 *
 * @example
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { onConfigChange } from "@effect-etcd/discovery/config"
 * import { Deferred, Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   const applied = yield* Deferred.make<number>()
 *   yield* Effect.forkScoped(
 *     onConfigChange("/config/limits", Limits, (limits) => Deferred.succeed(applied, limits.requestsPerSecond))
 *   )
 *   yield* etcd.put({ key: "/config/limits", value: `{ "requestsPerSecond": 100 }` })
 *   assert.equal(yield* Deferred.await(applied), 100)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 */
export const onConfigChange = <A, E = never, R = never, E2 = never, R2 = never>(
  key: string,
  schema: ConfigSchema<A>,
  apply: (value: A) => Effect.Effect<unknown, E, R>,
  options: OnConfigChangeOptions<E2, R2> = {}
): Effect.Effect<never, E | E2 | ConfigError, R | R2 | Etcd> => {
  const { whenAbsent, whenNewer = "interrupt", ...rest } = options
  return Effect.scoped(Effect.gen(function* () {
    const { changes } = yield* followConfig(key, schema, rest)

    /** The newest state that asks for something else than `applied` did; the stream never ends without an error. */
    const awaitNewer = (applied: ConfigState<A> | undefined): Effect.Effect<ConfigState<A>, ConfigError> =>
      changes.pipe(
        Stream.filter((state) =>
          (state._tag === "Present" || whenAbsent !== undefined) &&
          (applied === undefined || !ConfigState.isSameValue(state, applied))
        ),
        Stream.runHead,
        Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed }))
      )

    let applied: ConfigState<A> | undefined
    while (true) {
      const state: ConfigState<A> = yield* awaitNewer(applied)
      applied = state
      const applying: Effect.Effect<unknown, E | E2, R | R2> = state._tag === "Present" ?
        apply(state.value) :
        whenAbsent ?? Effect.void
      yield* whenNewer === "finish" ? applying : Effect.raceFirst(applying, awaitNewer(applied))
    }
  }))
}
