/**
 * The state and the maintenance of each member.
 *
 * **Details**
 *
 * A function for one member takes an endpoint, such as one of the member's `clientUrls`. It connects to that member
 * only, with the certificates and the user of the client. It fails with `InvalidOption` if the endpoint is malformed,
 * or if only one of endpoint and client uses TLS.
 *
 * @since 0.1.0
 * @module
 */
import { Duration, Effect, Result } from "effect"
import type { Alarm, MemberCalls, StatusResponse } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { EtcdError, FailedPrecondition, Unavailable } from "../etcd/EtcdError.ts"
import { withJson } from "../internal/json.ts"
import type { InvalidOption } from "../internal/options.ts"
import { call, callAt, callsTo, checked, checkMemberId, type MemberId } from "./calls.ts"
import * as Etcd3 from "./etcd3.ts"

export { snapshot } from "./snapshot.ts"

/**
 * The state of the member at an endpoint.
 *
 * **Details**
 *
 * The member needs neither a leader nor a majority to answer. The endpoint of the embedded engine is `memory://engine`.
 *
 * **Gotchas**
 *
 * With authentication on, etcd permits this to root only.
 *
 * @since 0.1.0
 * @category state
 */
export const status = (endpoint: string): Effect.Effect<StatusResponse, EtcdError | InvalidOption, Etcd> =>
  Effect.flatMap(callsTo("Maintenance.status", endpoint), ({ status }) => Effect.map(status, withJson))

/**
 * The alarms of all members. The embedded engine has none.
 *
 * @since 0.1.0
 * @category alarms
 */
export const alarms: Effect.Effect<ReadonlyArray<Alarm>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) => Effect.map(administration.alarms, ({ alarms }) => alarms.map(withJson))
)

const alarmTypes = { nospace: "Nospace", corrupt: "Corrupt", unknown: "None" } as const

/**
 * Ends an alarm returned by {@link alarms}. Does nothing if it has already ended.
 *
 * **Gotchas**
 *
 * etcd never ends an alarm by itself. After `nospace`, compact and defragment first. Otherwise the next write raises
 * the alarm again.
 *
 * @since 0.1.0
 * @category alarms
 */
export const disarm = (alarm: Alarm): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Maintenance.disarm", (check) => ({
      action: "Deactivate" as const,
      memberID: String(checkMemberId(check, "memberId", alarm.memberId)),
      alarm: alarmTypes[check.oneOf("type", alarm.type, ["nospace", "corrupt"])]
    }))
    yield* call("alarm", ({ maintenance }) => maintenance.alarm(request))
  })

/**
 * Returns the unused space of a member's database to the file system.
 *
 * **Details**
 *
 * Waits until the member has finished. Interruption ends the wait, not the work.
 *
 * **Gotchas**
 *
 * The member blocks reads and writes meanwhile: about a second for some hundred megabytes. Defragment one member after
 * the other, the leader last.
 *
 * @since 0.1.0
 * @category upkeep
 */
export const defragment = (endpoint: string): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.asVoid(
    callAt("Maintenance.defragment", endpoint, "defragment", ({ maintenance }) => maintenance.defragment())
  )

/**
 * The hash of a member's whole database file.
 *
 * **Gotchas**
 *
 * Members with the same data can have different files. Compare them with {@link hashKv}.
 *
 * @since 0.1.0
 * @category state
 */
export const hash = (endpoint: string): Effect.Effect<number, EtcdError | InvalidOption, Etcd> =>
  Effect.map(
    callAt("Maintenance.hash", endpoint, "hash", ({ maintenance }) => maintenance.hash()),
    ({ hash }) => Number(hash)
  )

/**
 * The hash of a member's keys up to a revision.
 *
 * @since 0.1.0
 * @category models
 */
export interface HashKv {
  readonly hash: number
  /** The last revision that the hash covers. */
  readonly revision: bigint
  /** Hashes are comparable only if this is equal as well. */
  readonly compactRevision: bigint
}

/**
 * The hash of a member's keys up to a revision. Default: the newest of that member.
 *
 * **Details**
 *
 * If two members have different hashes at the same revision and `compactRevision`, their data differ.
 *
 * @since 0.1.0
 * @category state
 */
export const hashKv = (
  endpoint: string,
  options: { readonly revision?: bigint } = {}
): Effect.Effect<HashKv, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const { revision = 0n } = options
    yield* checked("Maintenance.hashKv", (check) =>
      typeof revision === "bigint" && BigInt.asIntN(63, revision) === revision && revision >= 0n ?
        revision :
        check.refuse("revision", revision, "it must be a bigint of 0n or more"))
    const response = yield* callAt(
      "Maintenance.hashKv",
      endpoint,
      "hashKv",
      ({ maintenance }) =>
        maintenance.hashKV({ revision: String(revision) })
    )
    return withJson({
      hash: Number(response.hash),
      revision: revision === 0n ? BigInt(response.header.revision) : revision,
      compactRevision: BigInt(response.compact_revision)
    })
  })

/**
 * Makes a member the leader.
 *
 * **Details**
 *
 * Only the leader can transfer its role. So this calls the leader at `leader`, or else at one of its `clientUrls`.
 * Fails with `FailedPrecondition` if the member is a learner or does not exist.
 *
 * @since 0.1.0
 * @category upkeep
 */
export const moveLeader = (
  target: MemberId,
  options: {
    /** The endpoint of the leader, if clients cannot reach its `clientUrls`. */
    readonly leader?: string
  } = {}
): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const of = "Maintenance.moveLeader"
    const targetID = String(yield* checked(of, (check) => checkMemberId(check, "target", target)))
    const calls = options.leader === undefined ? yield* leaderCalls : yield* callsTo(of, options.leader, "leader")
    yield* Etcd3.call(calls, "moveLeader", ({ maintenance }) => maintenance.moveLeader({ targetID }), transferTimeout)
  })

/** etcd gives up after its election timeout, by default one second. */
const transferTimeout = Duration.seconds(15)

const leaderCalls: Effect.Effect<MemberCalls, EtcdError, Etcd> = Effect.gen(function* () {
  const { administration } = yield* Etcd
  const fail = (reason: EtcdError["reason"]) => new EtcdError({ reason, method: "moveLeader" })
  const { leader } = yield* administration.status
  if (leader === 0n) return yield* fail(new Unavailable({ detail: "the cluster has no leader" }))
  const { members } = yield* administration.memberList()
  const urls = members.find(({ id }) => id === leader)?.clientUrls ?? []
  const calls = urls.map(administration.at).find(Result.isSuccess)
  if (calls !== undefined) return calls.success
  const detail = `the leader ${leader.toString(16)} has no client URL that this client can use, but ${urls}`
  return yield* fail(new FailedPrecondition({ detail }))
})

/**
 * Checks, begins or cancels a downgrade of the cluster to the previous minor version.
 *
 * **Details**
 *
 * Returns the cluster's version. Fails with `Unimplemented` before etcd 3.5. `enable` lets servers of the older version
 * join, one after the other. Fails with `InvalidArgument` if etcd does not permit the target, and with
 * `FailedPrecondition` for a second downgrade.
 *
 * **Gotchas**
 *
 * etcd 3.5 applies `enable` and `cancel`, but reports a timeout after 5 seconds. While a downgrade is enabled,
 * `validate` fails with `FailedPrecondition`.
 *
 * @since 0.1.0
 * @category upkeep
 */
export const downgrade = (options: {
  readonly action: "validate" | "enable" | "cancel"
  /** The target version, such as `3.5.0`. Omit it for `cancel`. */
  readonly version?: string
}): Effect.Effect<string, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Maintenance.downgrade", (check) => {
      const action = downgradeActions[check.oneOf("action", options.action, ["validate", "enable", "cancel"])]
      const { version = "" } = options
      if (action !== "Cancel" && !/^\d+\.\d+(?:\.\d+)?$/.test(version)) {
        check.refuse("version", options.version, "it must be a version, such as 3.5.0")
      }
      return { action, version }
    })
    const { version } = yield* call("downgrade", ({ maintenance }) => maintenance.downgrade(request))
    return version
  })

const downgradeActions = { validate: "Validate", enable: "Enable", cancel: "Cancel" } as const
