import { Effect, Option, Result, type Schedule, Semaphore } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { toBytes } from "../etcd/KeyRange.ts"
import type { KeyValue, RequestOp } from "../etcd/messages/kv.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { retryConflicts, type UpdateConflict } from "./conflict.ts"
import { readEntry } from "./Entry.ts"
import { codecFor, encode, invalid, type InvalidValue, type KeyLike, nameOf, rangeOf, type ValueOf } from "./Key.ts"
import type { LeaseLike } from "./Op.ts"
import { checkLease, leaseId } from "./requests.ts"

/**
 * The reads and writes of a function under {@link atomically}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transaction {
  /**
   * Reads a key. All reads of one attempt return the state at one revision, plus the attempt's own writes.
   *
   * Fails with `InvalidValue` if the value does not decode.
   */
  readonly get: <K extends KeyLike>(
    key: K
  ) => Effect.Effect<Option.Option<ValueOf<K>>, EtcdError | InvalidValue>
  /**
   * Writes a key when the transaction commits. A key that was read before keeps its lease unless `lease` says
   * otherwise.
   *
   * Fails with `InvalidValue` if the value does not encode.
   */
  readonly put: <K extends KeyLike>(
    key: K,
    value: ValueOf<K>,
    options?: { readonly lease?: LeaseLike }
  ) => Effect.Effect<void, EtcdError | InvalidValue>
  /** Deletes a key when the transaction commits. */
  readonly delete: (key: KeyLike) => Effect.Effect<void, EtcdError>
}

/**
 * The options of {@link atomically}.
 *
 * @since 0.1.0
 * @category options
 */
export interface AtomicallyOptions {
  /** The schedule of retries after a conflict. Default: up to 20, after 10 ms doubling up to 1 s, with full jitter. */
  readonly retry?: Schedule.Schedule<unknown>
}

/**
 * Runs a function that reads and writes several keys as one serializable transaction.
 *
 * **When to use**
 *
 * Use it if the keys to write, or their values, depend on keys that are read. If they do not, `Kv.txn` needs one
 * request. For one key, use `Kv.update`.
 *
 * **Details**
 *
 * The transaction is optimistic, like the STM of Go's clientv3. An attempt reads everything at one revision and keeps
 * its writes in memory. Then one request compares the mod revision of every key that was read, and applies all writes
 * if none has changed. After a conflict the function runs again, under the schedule `retry`. So it may run many times
 * and should have no other effects. If it only reads, no final request is needed: its reads are of one revision.
 *
 * If the function fails, nothing is written and the failure passes through. When `retry` ends, it fails with
 * `UpdateConflict`, which names a key that others wrote. Interrupting it before its last request leaves no trace.
 *
 * **Gotchas**
 *
 * It retries conflicts only. After `Unavailable` and `DeadlineExceeded` of the last request the writes may have been
 * applied, and repeating them could apply them twice. `Compacted` means that the revision was compacted while the
 * function still read: nothing was written.
 *
 * etcd refuses a transaction with more than 128 reads or writes by default (its option `--max-txn-ops`).
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const accounts = Kv.prefix("/accounts/", Schema.Int)
 *
 * const transfer = (from: string, to: string, amount: number) =>
 *   Kv.atomically((txn) =>
 *     Effect.gen(function* () {
 *       const source = Option.getOrElse(yield* txn.get(accounts.key(from)), () => 0)
 *       const target = Option.getOrElse(yield* txn.get(accounts.key(to)), () => 0)
 *       if (source < amount) return yield* Effect.fail("insufficient funds" as const)
 *       yield* txn.put(accounts.key(from), source - amount)
 *       yield* txn.put(accounts.key(to), target + amount)
 *     })
 *   )
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(accounts.key("a"), 100)
 *   yield* Effect.all([transfer("a", "b", 30), transfer("a", "b", 20)], { concurrency: 2 })
 *   const { entries } = yield* Kv.getPrefix(accounts)
 *   assert.deepEqual(entries.map(({ value }) => value), [50, 50])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category optimistic writes
 */
export const atomically = <A, E, R>(
  f: (txn: Transaction) => Effect.Effect<A, E, R>,
  options: AtomicallyOptions = {}
): Effect.Effect<A, EtcdError | UpdateConflict | E, Etcd | R> =>
  Effect.flatMap(Etcd, (etcd) =>
    retryConflicts(
      Effect.suspend(() => {
        const attempt = new Attempt(etcd)
        return Effect.flatMap(f(attempt), (value) => attempt.commit(value))
      }),
      options.retry
    ))

/** One attempt: the keys that it has read, and the writes to apply. */
class Attempt implements Transaction {
  readonly #etcd: Etcd
  readonly #reads = new Map<string, KeyValue | undefined>()
  readonly #writes = new Map<string, Extract<RequestOp, { readonly _tag: "Put" | "DeleteRange" }>>()
  /** The first read sets the revision. Others wait for it. */
  readonly #firstRead = Semaphore.makeUnsafe(1)
  #revision: bigint | undefined

  constructor(etcd: Etcd) {
    this.#etcd = etcd
  }

  readonly get: Transaction["get"] = (key) =>
    Effect.gen({ self: this }, function* () {
      const name = yield* nameFor(key)
      const codec = codecFor(key)
      const write = this.#writes.get(name)
      if (write?._tag === "DeleteRange") return Option.none()
      if (write?._tag === "Put") {
        const written = Result.mapError(codec.decode(toBytes(write.request.value)), (cause) => invalid(name, cause))
        return Option.some(yield* Effect.fromResult(written))
      }
      const kv = yield* this.#read(name)
      if (kv === undefined) return Option.none()
      return Option.some((yield* Effect.fromResult(readEntry(codec, kv))).value)
    })

  readonly put: Transaction["put"] = (key, value, options = {}) =>
    Effect.gen({ self: this }, function* () {
      const name = yield* nameFor(key)
      const bytes = yield* Effect.fromResult(encode(key, value))
      const lease = options.lease === undefined ?
        this.#reads.get(name)?.lease ?? 0n :
        yield* Effect.fromResult(checkLease(leaseId(options.lease)))
      this.#writes.set(name, { _tag: "Put", request: { key: name, value: bytes, lease } })
    })

  readonly delete: Transaction["delete"] = (key) =>
    Effect.map(nameFor(key), (name) => {
      this.#writes.set(name, { _tag: "DeleteRange", request: { key: name } })
    })

  /** Applies the writes, or returns the key that another client wrote. */
  commit<A>(value: A): Effect.Effect<Result.Result<A, string>, EtcdError> {
    if (this.#writes.size === 0) return Effect.succeed(Result.succeed(value))
    const reads = Array.from(this.#reads, ([key, kv]) => ({ key, revision: kv?.modRevision ?? 0n }))
    return Effect.map(
      this.#etcd.txn({
        compare: reads.map(({ key, revision }) => ({ key, target: "mod", result: "equal", value: revision })),
        then: [...this.#writes.values()],
        else: reads.map(({ key }) => ({ _tag: "Range", request: { key, keysOnly: true } }))
      }),
      ({ responses, succeeded }) => {
        if (succeeded) return Result.succeed(value)
        const changed = reads.find(({ revision }, index) => {
          const found = responses[index]
          return found?._tag === "Range" && (found.response.kvs[0]?.modRevision ?? 0n) !== revision
        })
        return Result.fail(changed?.key ?? "")
      }
    )
  }

  #read(name: string): Effect.Effect<KeyValue | undefined, EtcdError> {
    return Effect.suspend(() => {
      if (this.#reads.has(name)) return Effect.succeed(this.#reads.get(name))
      return this.#revision === undefined ?
        this.#firstRead.withPermit(Effect.suspend(() => this.#send(name))) :
        this.#send(name)
    })
  }

  #send(name: string): Effect.Effect<KeyValue | undefined, EtcdError> {
    const revision = this.#revision
    return Effect.map(
      this.#etcd.range({ key: name, ...(revision === undefined ? {} : { revision }) }),
      ({ header, kvs: [kv] }) => {
        this.#revision ??= header.revision
        this.#reads.set(name, kv)
        return kv
      }
    )
  }
}

const nameFor = (key: KeyLike): Effect.Effect<string, EtcdError> =>
  Effect.map(Effect.fromResult(rangeOf("txn", key)), () => nameOf(key))
