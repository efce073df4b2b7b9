import { Effect, Option, Result, type Schedule } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { withJson } from "../internal/json.ts"
import * as Compare from "./Compare.ts"
import { retryConflicts, type UpdateConflict } from "./conflict.ts"
import type { Entry } from "./Entry.ts"
import { type InvalidValue, type KeyLike, nameOf, type ValueOf } from "./Key.ts"
import * as Op from "./Op.ts"
import { leaseId, run } from "./requests.ts"
import * as Txn from "./Txn.ts"

/**
 * The options of {@link update}.
 *
 * @since 0.1.0
 * @category options
 */
export interface UpdateOptions extends Op.PutOptions {
  /** The schedule of retries after a conflict. Default: up to 20, after 10 ms doubling up to 1 s, with full jitter. */
  readonly retry?: Schedule.Schedule<unknown>
}

/**
 * Replaces the value of a key by the result of `f`, and returns the new entry.
 *
 * **Details**
 *
 * The update is optimistic: it reads the key, and writes it unless another client has written it in between. After a
 * conflict it starts over, under the schedule `retry`. So `f` may run many times, and no update of others is lost. If
 * the key does not exist, `f` receives none. The key keeps its lease unless `lease` says otherwise.
 *
 * Fails with `UpdateConflict` when `retry` ends.
 *
 * **Gotchas**
 *
 * It retries conflicts only. After `Unavailable` and `DeadlineExceeded` the update may have been applied, and repeating
 * it could apply it twice.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const visits = Kv.key("/visits", Schema.Int)
 * const visit = Kv.update(visits, (before) => Option.getOrElse(before, () => 0) + 1)
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.all(Array.from({ length: 5 }, () => visit), { concurrency: "unbounded" })
 *   const { value, version } = yield* visit
 *   assert.deepEqual([value, version], [6, 6n])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category optimistic writes
 */
export const update = <K extends KeyLike>(
  key: K,
  f: (before: Option.Option<ValueOf<K>>) => ValueOf<K>,
  options?: UpdateOptions
): Effect.Effect<Entry<ValueOf<K>>, EtcdError | InvalidValue | UpdateConflict, Etcd> =>
  updateEffect(key, (before) => Effect.sync(() => f(before)), options)

/** The revisions and the lease of a key that does not exist. */
const absent = { revision: 0n, createRevision: 0n, version: 0n, lease: 0n }

/**
 * Replaces the value of a key by the result of an effect.
 *
 * **Details**
 *
 * If the effect fails, nothing is written.
 *
 * @see {@link update}
 * @since 0.1.0
 * @category optimistic writes
 */
export const updateEffect = <K extends KeyLike, E, R>(
  key: K,
  f: (before: Option.Option<ValueOf<K>>) => Effect.Effect<ValueOf<K>, E, R>,
  { retry, ...options }: UpdateOptions = {}
): Effect.Effect<Entry<ValueOf<K>>, EtcdError | InvalidValue | UpdateConflict | E, Etcd | R> => {
  const name = nameOf(key)
  const attempt = Effect.gen(function* () {
    const before = yield* run(Op.get(key))
    const value = yield* f(Option.map(before, ({ value }) => value))
    const seen = Option.getOrElse(before, () => absent)
    const lease = options.lease === undefined || options.lease === "keep" ? seen.lease : leaseId(options.lease)
    const { revision, succeeded } = yield* run(Txn.make({
      if: [Compare.modRevision(key).equals(seen.revision)],
      then: [Op.put(key, value, { lease })]
    }))
    if (!succeeded) return Result.fail(name)
    const createRevision = seen.createRevision === 0n ? revision : seen.createRevision
    return Result.succeed(withJson({ key: name, value, revision, createRevision, version: seen.version + 1n, lease }))
  })
  return retryConflicts(attempt, retry)
}
