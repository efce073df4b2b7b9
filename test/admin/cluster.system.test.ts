/**
 * Changes of a cluster of three members, and a cluster without space.
 *
 * @module
 */
import { Effect } from "effect"
import assert from "node:assert/strict"
import { Maintenance, type Member, Members } from "../../src/admin/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { startCluster } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { eventually } from "../harness/real.ts"
import { connected, refusalOf } from "./support.ts"

const memberAt = (members: ReadonlyArray<Member>, endpoint: string) => {
  const found = members.find(({ clientUrls }) => clientUrls.includes(endpoint))
  assert.ok(found !== undefined, endpoint)
  return found
}

/** etcd refuses a change for up to 5 seconds after the last one. */
const whenHealthy = <A, E, R>(change: Effect.Effect<A, E, R>) => eventually(change, { every: 200 })

const started = (name: string) =>
  eventually(Effect.flatMap(Members.list, (members) => {
    const found = members.find((member) => member.name === name)
    return found === undefined ? Effect.fail(`${name} has not started`) : Effect.succeed(found)
  }))

describe("admin of a cluster", () => {
  live(
    "Members grows a cluster of three by a promoted learner and replaces a member; Maintenance moves the leader",
    () =>
      Effect.gen(function* () {
        const cluster = yield* startCluster(3)
        yield* Effect.gen(function* () {
          const etcd = yield* Etcd
          yield* etcd.put({ key: "a", value: "1" })

          const learner = yield* cluster.newcomer(yield* Members.list)
          const added = yield* whenHealthy(Members.addLearner({ peerUrls: [learner.peerUrl] }))
          assert.deepEqual([added.name, added.clientUrls, added.isLearner], ["", [], true])
          assert.deepEqual(yield* refusalOf(Members.promote(added.id)), ["memberPromote", "FailedPrecondition"])
          const again = yield* refusalOf(Members.add({ peerUrls: [learner.peerUrl] }))
          assert.ok(again[1] === "AlreadyExists" || again[1] === "FailedPrecondition", String(again))
          yield* learner.server.launch
          yield* started(learner.server.name)
          const state = yield* eventually(Maintenance.status(learner.server.endpoint))
          assert.deepEqual([state.isLearner, state.header.memberId], [true, added.id])
          const promoted = yield* whenHealthy(Members.promote(added.id))
          assert.deepEqual(promoted.map(({ isLearner }) => isLearner), [false, false, false, false])
          yield* learner.server.healthy

          const { leader } = yield* etcd.status
          yield* Maintenance.moveLeader(added.id.toString(16))
          yield* eventually(
            Effect.flatMap(Maintenance.status(learner.server.endpoint), (status) =>
              status.leader === added.id ? Effect.void : Effect.fail(`${status.leader} leads`))
          )
          assert.notEqual(leader, added.id)

          const [replaced] = cluster.members
          assert.ok(replaced !== undefined)
          const { id } = memberAt(yield* Members.list, replaced.endpoint)
          const left = yield* whenHealthy(Members.remove(id))
          assert.equal(left.length, 3)
          assert.deepEqual(yield* refusalOf(Members.remove(id)), ["memberRemove", "NotFound"])
          const replacement = yield* cluster.newcomer(left)
          const voter = yield* whenHealthy(Members.add({ peerUrls: ["http://127.0.0.1:1"] }))
          const updated = yield* whenHealthy(Members.update(voter.id, { peerUrls: [replacement.peerUrl] }))
          assert.deepEqual(
            updated.find((member) =>
              member.id === voter.id
            )?.peerUrls,
            [replacement.peerUrl]
          )
          yield* replacement.server.start
          assert.equal((yield* started(replacement.server.name)).id, voter.id)
          const read = yield* Effect.flatMap(Etcd, ({ range }) => range({ key: "a", serializable: true })).pipe(
            connected({ endpoints: [replacement.server.endpoint] })
          )
          assert.equal(read.count, 1n)
        }).pipe(connected({ endpoints: [...cluster.endpoints].reverse() }))
      })
  )

  live(
    "Maintenance defragments and disarms a compacted cluster without space, which then accepts writes",
    () =>
      Effect.gen(function* () {
        const quota = 8 * 1024 * 1024
        const cluster = yield* startCluster(3, { args: ["--quota-backend-bytes", String(quota)] })
        yield* Effect.gen(function* () {
          const etcd = yield* Etcd
          const fill = Effect.forever(etcd.put({ key: "a", value: "x".repeat(500_000) }))
          assert.deepEqual(yield* refusalOf(fill), ["put", "NoSpace"])
          const alarms = yield* eventually(Effect.filterOrFail(Maintenance.alarms, ({ length }) => length > 0))
          assert.ok(alarms.every(({ type }) => type === "nospace"), JSON.stringify(alarms.map(({ type }) => type)))
          assert.match((yield* Maintenance.status(cluster.endpoints[0] ?? "")).errors.join(), /NOSPACE/)

          const { header } = yield* etcd.range({ key: "a" })
          yield* etcd.compact({ revision: header.revision, physical: true })
          const { leader } = yield* etcd.status
          const members = yield* Members.list
          const leaderLast = members.toSorted((a, b) => Number(a.id === leader) - Number(b.id === leader))
          for (const { clientUrls: [url = ""] } of leaderLast) yield* Maintenance.defragment(url)
          for (const endpoint of cluster.endpoints) {
            const { dbSize } = yield* Maintenance.status(endpoint)
            assert.ok(dbSize < quota / 2, `${dbSize} bytes`)
          }
          assert.deepEqual(yield* refusalOf(etcd.put({ key: "b", value: "1" })), ["put", "NoSpace"])

          for (const alarm of yield* Maintenance.alarms) yield* Maintenance.disarm(alarm)
          yield* Maintenance.disarm({ memberId: leader, type: "nospace" })
          assert.deepEqual(yield* Maintenance.alarms, [])
          yield* etcd.put({ key: "b", value: "1" })
          const { revision } = (yield* etcd.range({ key: "b" })).header
          const hashes = yield* Effect.forEach(
            cluster.endpoints,
            (endpoint) => eventually(Maintenance.hashKv(endpoint, { revision }))
          )
          assert.equal(new Set(hashes.map(({ hash }) => hash)).size, 1)
        }).pipe(connected({ endpoints: cluster.endpoints, requestTimeout: "10 seconds" }))
      })
  )
})
