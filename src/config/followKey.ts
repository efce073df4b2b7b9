/**
 * Follows one key and decodes its values.
 *
 * @module
 */
import { Cause, Clock, Effect, Exit, Metric, Option, Result, type Scope, type Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { toBytes } from "../etcd/KeyRange.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { Followed } from "../etcd/follow.ts"
import { Freshness } from "../etcd/Freshness.ts"
import { withJson } from "../internal/json.ts"
import { Latest } from "../internal/Latest.ts"
import { logWarning } from "../internal/log.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { RejectionWarnings } from "../internal/RejectionWarnings.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { type ConfigRefError, ConfigRefused } from "./ConfigRefError.ts"
import type { ConfigState } from "./ConfigState.ts"
import { type ConfigFormat, configFormats, type ConfigSchema, decoderOf } from "./decode.ts"
import { followScoped, settingsOf, type WatchOptions } from "./settings.ts"

/**
 * How to follow and read a key.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends WatchOptions {
  /** The format of values. With `"text"` the schema receives the text unchanged. Default: `"json"`. */
  readonly format?: ConfigFormat
}

/** A followed key. */
export interface FollowedKey<A> {
  /** The state. `undefined` until etcd has answered. */
  readonly current: () => ConfigState<A> | undefined
  /** The newest state, then later ones. A slow reader skips states. */
  readonly changes: Stream.Stream<ConfigState<A>, ConfigRefError>
}

const rejectedValues = Metric.counter("etcd_discovery_config_rejected_total", {
  description: "Values of configuration keys that did not decode, counted once per revision",
  incremental: true
})

/** How many earlier values are searched for a good one. */
const maxHistory = 16

/** Follows a key until the scope closes. `of` is the name of the calling function. */
export const followKey = Effect.fnUntraced(function* <A>(
  of: string,
  key: string,
  schema: ConfigSchema<A>,
  options: Options
): Effect.fn.Return<FollowedKey<A>, InvalidOption, Etcd | Scope.Scope> {
  const settings = yield* Effect.fromResult(settingsOf(of, ["key", key], options))
  const format = yield* Effect.fromResult(
    checkOptions(of, (check) => check.oneOf<ConfigFormat>("format", options.format ?? "json", configFormats))
  )
  const decode = yield* decoderOf(key, schema, format)
  const etcd = yield* Etcd
  yield* Metric.update(rejectedValues, 0)
  const keyBytes = toBytes(key)
  const states = new Latest<ConfigState<A>, ConfigRefError>()
  const warnings = new RejectionWarnings()

  let state: ConfigState<A> | undefined
  /** The last decoded write. A list with the same write changes nothing. */
  let lastWrite: KeyValue | undefined

  const absent = (revision: bigint): ConfigState<A> => ({ _tag: "Absent", revision, freshness: Freshness.Live() })
  const present = (value: A, revision: bigint): ConfigState<A> => ({
    _tag: "Present",
    value,
    revision,
    freshness: Freshness.Live()
  })

  const put = Effect.fnUntraced(function* (kv: KeyValue, isListed: boolean) {
    const known = lastWrite
    lastWrite = kv
    if (state !== undefined && known !== undefined && isSameWrite(known, kv)) return
    const decoded = decode(kv)
    if (Result.isSuccess(decoded)) {
      state = present(decoded.success, kv.modRevision)
      return
    }
    yield* warnings.log([decoded.failure], yield* monotonicMillis, ({ message }) => message)
    yield* Metric.update(rejectedValues, 1)
    // Since the last state the key may have been deleted and put again, or have had good values. A list shows neither.
    const kept = state !== undefined && kv.createRevision <= state.revision ? state : absent(kv.createRevision)
    const earlier = isListed ? yield* lastGood(kv) : undefined
    state = { ...(earlier ?? kept), rejected: decoded.failure }
  })

  /** Reads the newest good value before this one, if etcd's history still has it. */
  const lastGood = Effect.fnUntraced(function* ({ modRevision }: KeyValue) {
    let before = modRevision - 1n
    for (let step = 0; step < maxHistory; step++) {
      const response = Option.getOrUndefined(yield* Effect.option(etcd.range({ key, revision: before })))
      const earlier = response?.kvs[0]
      if (earlier === undefined) return undefined
      const decoded = decode(earlier)
      if (Result.isSuccess(decoded)) return present(decoded.success, earlier.modRevision)
      before = earlier.modRevision - 1n
    }
    return undefined
  })

  const remove = (revision: bigint) => {
    lastWrite = undefined
    state = absent(revision)
  }

  const publish = Effect.fnUntraced(function* (stale?: EtcdError) {
    if (state === undefined) return
    const freshness = stale === undefined ?
      Freshness.Live() :
      Freshness.Stale({ since: yield* Clock.currentTimeMillis, cause: stale })
    state = withJson({ ...state, freshness })
    states.set(state)
  })

  // A confused server or proxy must never make another key's value apply.
  const isOwn = (kv: KeyValue) => isSameBytes(kv.key, keyBytes)

  const onFollowed = Effect.fnUntraced(function* (followed: Followed) {
    switch (followed._tag) {
      case "Listed": {
        const kv = followed.kvs.find(isOwn)
        if (kv === undefined) remove(followed.revision)
        else yield* put(kv, true)
        break
      }
      case "Changed":
        for (const { kv, type } of followed.events) {
          if (!isOwn(kv)) continue
          if (type === "delete") remove(kv.modRevision)
          else yield* put(kv, false)
        }
        break
      case "Interrupted":
        yield* logWarning(
          `lost the watch on ${
            JSON.stringify(key)
          }; serving the last known value and reconnecting: ${followed.cause.message}`
        )
        return yield* publish(followed.cause)
    }
    yield* publish()
  })

  yield* followScoped(
    etcd,
    { ...settings, range: { key } },
    onFollowed,
    (cause, error) =>
      Effect.map(
        publish(error),
        () => states.end(Exit.failCause(Cause.map(cause, (cause) => new ConfigRefused({ key, cause }))))
      )
  )
  return { current: () => state, changes: states.changes }
})

const isSameBytes = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index])

const isSameWrite = (one: KeyValue, other: KeyValue): boolean =>
  one.modRevision === other.modRevision && isSameBytes(one.value, other.value)
