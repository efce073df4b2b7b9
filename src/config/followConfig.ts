/**
 * One key, followed and decoded: what is known of it, always.
 *
 * @module
 */
import { Clock, Effect, Exit, Metric, Option, Result, type Scope, type Stream } from "effect"
import { Etcd, type KeyValue } from "../etcd/Etcd.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import { Latest } from "../internal/Latest.ts"
import { Freshness } from "../etcd/Freshness.ts"
import { type ConfigError, ConfigRefused, type InvalidConfigOption } from "./ConfigError.ts"
import type { ConfigState } from "./ConfigState.ts"
import { type ConfigFormat, type ConfigSchema, decoderOf } from "./decode.ts"
import { type FollowConfigOptions, notEmpty, settingsOf } from "./settings.ts"

/** How a key is followed and read. */
export interface WatchConfigOptions extends FollowConfigOptions {
  /** How values are written; `"text"` gives the schema the string as it stands. Default: `"json"`. */
  readonly format?: ConfigFormat
}

/** A key that is followed. */
export interface FollowedConfig<A> {
  /** What is known now; `undefined` until etcd has answered. */
  readonly current: () => ConfigState<A> | undefined
  /** The newest state, and each later one that the reader is quick enough to see. */
  readonly changes: Stream.Stream<ConfigState<A>, ConfigError>
}

const rejectedValues = Metric.counter("etcd_config_rejected", {
  description: "Values of configuration keys that did not decode, counted once a revision",
  incremental: true
})

/** How many values before a bad one are looked at for a good one. */
const lookBack = 16

/** Follows a key until the scope closes. */
export const followConfig = Effect.fnUntraced(function* <A>(
  key: string,
  schema: ConfigSchema<A>,
  options: WatchConfigOptions
): Effect.fn.Return<FollowedConfig<A>, InvalidConfigOption, Etcd | Scope.Scope> {
  yield* Effect.fromResult(notEmpty("key", key))
  const settings = yield* Effect.fromResult(settingsOf(options))
  const decode = yield* decoderOf(key, schema, options.format ?? "json")
  const etcd = yield* Etcd
  const states = new Latest<ConfigState<A>, ConfigError>()

  let state: ConfigState<A> | undefined
  /** What etcd holds, as far as it was seen: a list that shows the same changes nothing. */
  let seen: KeyValue | undefined

  const absent = (revision: bigint): ConfigState<A> => ({
    _tag: "Absent",
    revision,
    freshness: Freshness.Live()
  })

  const present = (value: A, revision: bigint): ConfigState<A> => ({
    _tag: "Present",
    value,
    revision,
    freshness: Freshness.Live()
  })

  const put = Effect.fnUntraced(function* (kv: KeyValue, isListed: boolean) {
    const known = seen
    seen = kv
    if (state !== undefined && known !== undefined && isSameWrite(known, kv)) return
    const decoded = yield* Effect.result(decode(kv))
    if (Result.isSuccess(decoded)) {
      state = present(decoded.success, kv.modRevision)
      return
    }
    yield* Effect.logWarning(decoded.failure.message)
    yield* Metric.update(rejectedValues, 1)
    // What a list does not show: the key may have been deleted and put again, or have had good values in between.
    const kept = state !== undefined && kv.createRevision <= state.revision ? state : absent(kv.createRevision)
    const earlier = isListed ? yield* lastGood(kv) : undefined
    state = { ...(earlier ?? kept), rejected: decoded.failure }
  })

  /** The newest good value before this one, as far as etcd's history and our patience go. */
  const lastGood = Effect.fnUntraced(function* ({ modRevision }: KeyValue) {
    let before = modRevision - 1n
    for (let step = 0; step < lookBack; step++) {
      const answer = Option.getOrUndefined(yield* Effect.option(etcd.range({ key, revision: before })))
      const earlier = answer?.kvs[0]
      if (earlier === undefined) return undefined
      const decoded = yield* Effect.option(decode(earlier))
      if (Option.isSome(decoded)) return present(decoded.value, earlier.modRevision)
      before = earlier.modRevision - 1n
    }
    return undefined
  })

  const remove = (revision: bigint) => {
    seen = undefined
    state = absent(revision)
  }

  const tell = Effect.fnUntraced(function* (followed: Followed) {
    switch (followed._tag) {
      case "Listed": {
        const [kv] = followed.kvs
        if (kv === undefined) remove(followed.revision)
        else yield* put(kv, true)
        break
      }
      case "Changed":
        for (const { kv, type } of followed.events) {
          if (type === "delete") remove(kv.modRevision)
          else yield* put(kv, false)
        }
        break
      case "Interrupted":
        yield* Effect.logWarning(`${JSON.stringify(key)} cannot be followed for now: ${followed.cause.message}`)
    }
    if (state === undefined) return
    const freshness = followed._tag === "Interrupted" ?
      Freshness.Stale({ since: yield* Clock.currentTimeMillis, cause: followed.cause }) :
      Freshness.Live()
    state = { ...state, freshness }
    states.set(state)
  })

  const following = follow(etcd, { ...settings, range: { key } }, tell).pipe(
    Effect.catch(Effect.fnUntraced(function* (cause) {
      if (state !== undefined) {
        state = { ...state, freshness: Freshness.Stale({ since: yield* Clock.currentTimeMillis, cause }) }
      }
      states.end(Exit.fail(new ConfigRefused({ key, cause })))
    }))
  )
  yield* Effect.forkScoped(following, { startImmediately: true })
  return { current: () => state, changes: states.changes }
})

const isSameWrite = (one: KeyValue, other: KeyValue): boolean =>
  one.modRevision === other.modRevision && one.value.length === other.value.length &&
  one.value.every((byte, index) => byte === other.value[index])
