/**
 * The runners of a cluster, each with its machine id and its health.
 *
 * @module
 */
import { Effect, Option } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import { EtcdError, Unavailable } from "../etcd/EtcdError.ts"
import { prefix as prefixRange } from "../etcd/KeyRange.ts"
import type { Compare, KeyValue, RequestOp, TxnRequest, TxnResponse } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { rangeAll } from "../etcd/rangeAll.ts"
import { decodeRunner, encodeRunner, type Keys, textOf } from "./keys.ts"
import type { LazyLease } from "./LazyLease.ts"
import { logError } from "../internal/log.ts"

/** A registration of this process. */
interface Registered {
  readonly address: string
  readonly lease: LeaseId
}

/** The membership of this process, and its view of the others. Each operation is safe to repeat. */
export class Membership {
  readonly #etcd: Etcd
  readonly #keys: Keys
  readonly #lease: LazyLease
  #registered: Registered | undefined
  /** Whether the loss of the address to another process has been logged. */
  #isReplaced = false

  constructor(etcd: Etcd, keys: Keys, lease: LazyLease) {
    this.#etcd = etcd
    this.#keys = keys
    this.#lease = lease
  }

  /** All members. Those whose lease has expired are gone; values that are not runners are left out. */
  readonly runners: Effect.Effect<Array<readonly [runner: string, healthy: boolean]>, EtcdError> = Effect.suspend(() =>
    Effect.map(
      rangeAll(this.#etcd, prefixRange(this.#keys.runners)),
      ({ kvs }) =>
        kvs.flatMap(({ value }) =>
          Option.match(decodeRunner(value), {
            onNone: () => [],
            onSome: ({ healthy, runner }) => [[runner, healthy] as const]
          })
        )
    )
  )

  /**
   * Registers this process and returns its machine id: the one it has, or that of a predecessor at the same address, or
   * the lowest free number from 1 on.
   */
  register(address: string, runner: string, healthy: boolean): Effect.Effect<number, EtcdError> {
    return this.#lease.use((lease) =>
      Effect.gen({ self: this }, function* () {
        const { kvs } = yield* rangeAll(this.#etcd, prefixRange(this.#keys.machines))
        const candidates = candidatesOf(kvs, this.#keys.machines, address, lease)
        const writes = (number: number): ReadonlyArray<RequestOp> => [
          { _tag: "Put", request: { key: `${this.#keys.machines}${number}`, value: address, lease } },
          { _tag: "Put", request: { key: this.#keys.runner(address), value: encodeRunner({ runner, healthy }), lease } }
        ]
        const number = claimed(candidates, yield* this.#etcd.txn(claim(candidates, writes)))
        if (number === undefined) return yield* conflict(this.#keys.machines)
        this.#registered = { address, lease }
        this.#isReplaced = false
        return number
      })
    )
  }

  /** Removes a member from the list. It keeps its machine id and its locks: its entities are still ending. */
  unregister(address: string): Effect.Effect<void, EtcdError> {
    return Effect.asVoid(this.#etcd.txn({
      compare: this.guard(address),
      then: [{ _tag: "DeleteRange", request: { key: this.#keys.runner(address) } }]
    }))
  }

  /** Sets the health of any member, which keeps its own lease. */
  setHealth(address: string, healthy: boolean): Effect.Effect<void, EtcdError> {
    const key = this.#keys.runner(address)
    return Effect.gen({ self: this }, function* () {
      const { kvs: [kv] } = yield* this.#etcd.range({ key })
      const value = kv === undefined ? undefined : Option.getOrUndefined(decodeRunner(kv.value))
      if (kv === undefined || value === undefined || value.healthy === healthy) return
      const { succeeded } = yield* this.#etcd.txn({
        compare: [{ key, target: "mod", result: "equal", value: kv.modRevision }],
        then: [{
          _tag: "Put",
          request: { key, value: encodeRunner({ ...value, healthy }), ignoreLease: true }
        }]
      })
      if (!succeeded) return yield* conflict(key)
    })
  }

  /**
   * The condition under which this process may act for an address: none, unless it has registered that address itself.
   */
  guard(address: string): ReadonlyArray<Compare> {
    const registered = this.#registered
    return registered?.address !== address ?
      [] :
      [{ key: this.#keys.runner(address), target: "lease", result: "equal", value: registered.lease }]
  }

  /** Logs an error, once, if the key of an address that this process has registered belongs to another process. */
  check(address: string, kv: KeyValue | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      const registered = this.#registered
      const isReplaced = kv !== undefined && registered?.address === address && kv.lease !== registered.lease
      if (!isReplaced || this.#isReplaced) return Effect.void
      this.#isReplaced = true
      return logError(
        `another process has registered as runner ${address}; this one acquires no more shards. ` +
          "Give each runner an address of its own (ShardingConfig.runnerAddress)."
      )
    })
  }
}

/** Other processes wrote in between. The storage repeats the operation, with a backoff. */
const conflict = (key: string): EtcdError =>
  new EtcdError({ reason: new Unavailable({ detail: "other processes wrote it in between" }), method: "txn", key })

/** A machine id that a runner may take, and the conditions under which it does. */
interface Candidate {
  readonly number: number
  readonly compare: ReadonlyArray<Compare>
}

/** How many free numbers one Txn tries. Runners that start at the same time compete for the lowest ones. */
const triedAtOnce = 16

/** The machine id that the runner has. If it has none, the lowest free numbers. */
const candidatesOf = (
  machines: ReadonlyArray<KeyValue>,
  prefix: string,
  address: string,
  lease: LeaseId
): ReadonlyArray<Candidate> => {
  const taken = new Map<number, KeyValue>()
  for (const kv of machines) {
    const name = textOf(kv.key).slice(prefix.length)
    // A key that another program wrote there is no machine id.
    if (/^[1-9]\d{0,14}$/.test(name)) taken.set(Number(name), kv)
  }
  const ids = [...taken]
  const own = ids.find(([, kv]) => kv.lease === lease) ?? ids.find(([, { value }]) => textOf(value) === address)
  if (own !== undefined) {
    const [number, { key, modRevision }] = own
    return [{ number, compare: [{ key, target: "mod", result: "equal", value: modRevision }] }]
  }
  // An attempt that etcd applies after its repetition must not take a second id.
  const hasNone: Compare = { ...prefixRange(prefix), target: "lease", result: "notEqual", value: lease }
  const candidates: Array<Candidate> = []
  for (let number = 1; candidates.length < triedAtOnce; number++) {
    if (taken.has(number)) continue
    const isFree: Compare = { key: `${prefix}${number}`, target: "create", result: "equal", value: 0n }
    candidates.push({ number, compare: [isFree, hasNone] })
  }
  return candidates
}

/** The Txn that writes for the first candidate whose conditions hold: each other one is in the `else` of the one before. */
const claim = (
  [first, ...others]: ReadonlyArray<Candidate>,
  writes: (number: number) => ReadonlyArray<RequestOp>
): TxnRequest =>
  first === undefined ? {} : {
    compare: first.compare,
    then: writes(first.number),
    else: others.length === 0 ? [] : [{ _tag: "Txn", request: claim(others, writes) }]
  }

/** The number for which the Txn of {@link claim} has written. */
const claimed = (
  [first, ...others]: ReadonlyArray<Candidate>,
  { responses: [rest], succeeded }: TxnResponse
): number | undefined => succeeded ? first?.number : rest?._tag === "Txn" ? claimed(others, rest.response) : undefined
