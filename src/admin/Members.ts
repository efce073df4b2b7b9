/**
 * The members of the cluster.
 *
 * **Details**
 *
 * Every change goes through the leader and needs a majority of the members. The functions do not retry. A change
 * without a response may have been applied: list the members before you repeat it.
 *
 * @since 0.1.0
 * @module
 */
import { Effect } from "effect"
import type { IMember } from "etcd3"
import type { Member } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { withJson } from "../internal/json.ts"
import type { Check, InvalidOption } from "../internal/options.ts"
import { call, checked, checkMemberId, type MemberId } from "./calls.ts"

/**
 * The addresses of a member for the other members.
 *
 * @since 0.1.0
 * @category options
 */
export interface PeerOptions {
  /** At least one: `http://host:port` or `https://host:port`. */
  readonly peerUrls: ReadonlyArray<string>
}

/**
 * The members of the cluster.
 *
 * **Details**
 *
 * Linearizable, except on etcd 3.4, which returns the state of the member that answers. The embedded engine returns its
 * only member. With authentication on, any user may call it.
 *
 * @since 0.1.0
 * @category members
 */
export const list: Effect.Effect<ReadonlyArray<Member>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) => Effect.map(administration.memberList(), ({ members }) => members.map(withJson))
)

/**
 * The members of the cluster as the member that answers lists them, which may be stale.
 *
 * **When to use**
 *
 * The cluster has no leader, so that {@link list} fails.
 *
 * @since 0.1.0
 * @category members
 */
export const listSerializable: Effect.Effect<ReadonlyArray<Member>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) =>
    Effect.map(administration.memberList({ serializable: true }), ({ members }) => members.map(withJson))
)

/**
 * Adds a member and returns it. It counts towards the majority at once, before it has started.
 *
 * **Details**
 *
 * Start the new server with `--initial-cluster-state=existing` and these URLs. Fails with `FailedPrecondition` while
 * etcd considers the cluster unhealthy, for example for some seconds after the last change. Fails with `AlreadyExists`
 * if a member has one of the URLs.
 *
 * **Gotchas**
 *
 * In a cluster of one, a second member makes the majority two: all writes wait until the new member has started. A
 * learner ({@link addLearner}) has no such effect.
 *
 * @since 0.1.0
 * @category changes
 */
export const add = (options: PeerOptions): Effect.Effect<Member, EtcdError | InvalidOption, Etcd> =>
  addAs("Members.add", options, false)

/**
 * Adds a member without a vote and returns it. {@link promote} gives it a vote.
 *
 * **Details**
 *
 * Works like {@link add}. By default a cluster has at most one learner.
 *
 * @since 0.1.0
 * @category changes
 */
export const addLearner = (options: PeerOptions): Effect.Effect<Member, EtcdError | InvalidOption, Etcd> =>
  addAs("Members.addLearner", options, true)

const addAs = (of: string, options: PeerOptions, isLearner: boolean) =>
  Effect.gen(function* () {
    const peerURLs = yield* checked(of, (check) => checkPeerUrls(check, options))
    const { member } = yield* call("memberAdd", ({ cluster }) => cluster.memberAdd({ peerURLs, isLearner }))
    return fromEtcd3(member)
  })

/**
 * Gives a learner a vote. Returns the members.
 *
 * **Details**
 *
 * Fails with `FailedPrecondition` until the learner has almost all of the leader's log: retry with a schedule. Fails
 * with `NotFound` if the member does not exist.
 *
 * @since 0.1.0
 * @category changes
 */
export const promote = (id: MemberId): Effect.Effect<ReadonlyArray<Member>, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const ID = yield* checked("Members.promote", (check) => checkMemberId(check, "id", id))
    const { members } = yield* call("memberPromote", ({ cluster }) => cluster.memberPromote({ ID: String(ID) }))
    return members.map(fromEtcd3)
  })

/**
 * Changes the addresses of a member for the other members. Returns the members. Fails with `NotFound`.
 *
 * @since 0.1.0
 * @category changes
 */
export const update = (
  id: MemberId,
  options: PeerOptions
): Effect.Effect<ReadonlyArray<Member>, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Members.update", (check) => ({
      ID: String(checkMemberId(check, "id", id)),
      peerURLs: checkPeerUrls(check, options)
    }))
    const { members } = yield* call("memberUpdate", ({ cluster }) => cluster.memberUpdate(request))
    return members.map(fromEtcd3)
  })

/**
 * Removes a member and returns the others. The server of the removed member exits by itself.
 *
 * **Details**
 *
 * Fails with `NotFound`, or with `FailedPrecondition` if the remaining members would have no majority.
 *
 * @since 0.1.0
 * @category changes
 */
export const remove = (id: MemberId): Effect.Effect<ReadonlyArray<Member>, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const ID = yield* checked("Members.remove", (check) => checkMemberId(check, "id", id))
    const { members } = yield* call("memberRemove", ({ cluster }) => cluster.memberRemove({ ID: String(ID) }))
    return members.map(fromEtcd3)
  })

const peerUrlRule = "each must be http://host:port or https://host:port"

const checkPeerUrls = (check: Check, { peerUrls }: PeerOptions): Array<string> => {
  if (!Array.isArray(peerUrls) || peerUrls.length === 0) {
    return check.refuse("peerUrls", peerUrls, `it must have at least one; ${peerUrlRule}`)
  }
  const invalid = peerUrls.find((url) => !/^https?:\/\/[^\s/?#@]+:\d+$/.test(url) || !URL.canParse(url))
  return invalid === undefined ? [...peerUrls] : check.refuse("peerUrls", invalid, peerUrlRule)
}

const fromEtcd3 = ({ ID, clientURLs, isLearner, name, peerURLs }: IMember): Member => ({
  id: BigInt(ID),
  name,
  peerUrls: peerURLs,
  clientUrls: clientURLs,
  isLearner
})
