/**
 * The members of etcd and their state, as far as the console's user may read it.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { type Alarm, Maintenance, type Member, Members } from "../../admin/mod.ts"
import type { StatusResponse } from "../../etcd/Administration.ts"
import { Etcd } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { type Html, html } from "../html.ts"
import type { Read } from "../Readings.ts"
import { bytes, count, foreign, grouped } from "../text.ts"
import { fixed, join, live, rows } from "../view.ts"
import { cell, type Page, unknown } from "./Context.ts"

interface State {
  readonly clusterId: bigint
  readonly members: ReadonlyArray<{
    readonly member: Member
    /** The state, or why the console could not read it. */
    readonly status: Result.Result<StatusResponse, string>
  }>
  readonly alarms: Result.Result<ReadonlyArray<Alarm>, string>
}

const message = (error: { readonly message: string }): string => error.message

/** Reads the members, and each member's own state. */
const readCluster: Effect.Effect<Read<State>, EtcdError, Etcd> = Effect.gen(function* () {
  const etcd = yield* Etcd
  // The header contains the id of the cluster.
  const { header } = yield* etcd.administration.memberList()
  const members = yield* Members.list
  const states = yield* Effect.forEach(members, (member) => {
    const [endpoint] = member.clientUrls
    return endpoint === undefined ? Effect.succeed({ member, status: Result.fail("it has not started") }) : Effect.map(
      Effect.result(Effect.mapError(Maintenance.status(endpoint), message)),
      (status) => ({ member, status })
    )
  }, { concurrency: "unbounded" })
  const alarms = yield* Effect.result(Effect.mapError(Maintenance.alarms, message))
  const revisions = states.flatMap(({ status }) => Result.isSuccess(status) ? [status.success.header.revision] : [])
  const revision = revisions.reduce((a, b) => a > b ? a : b, header.revision)
  return { revision, value: { clusterId: header.clusterId, members: states, alarms } }
})

const hex = (id: bigint): string => BigInt.asUintN(64, id).toString(16)

const notice = (kind: "bad" | "warn", content: Html): Html =>
  html`
    <div class="notice ${kind}">
      <p>${content}</p>
    </div>
  `

/** Problems of the cluster, in words. */
const hints = ({ alarms, members }: State): ReadonlyArray<Html> => {
  const known = members.flatMap(({ status }) => Result.isSuccess(status) ? [status.success] : [])
  const found: Array<Html> = []
  if (Result.isFailure(alarms)) found.push(notice("warn", html`Alarms could not be read: ${alarms.failure}`))
  else {
    for (const { memberId, type } of alarms.success) {
      const what = type === "nospace" ?
        "its storage quota is used up, so etcd accepts no writes" :
        type === "corrupt" ?
        "its data differs from that of the others" :
        "an unknown kind of alarm"
      found.push(notice("bad", html`Alarm of member <span class="mono">${hex(memberId)}</span>: ${what}.`))
    }
  }
  if (known.some(({ leader }) => leader === 0n)) found.push(notice("bad", html`A member has no leader.`))
  for (const { dbSize, dbSizeInUse, dbSizeQuota = 0n } of known) {
    if (dbSizeQuota > 0n && dbSize * 10n > dbSizeQuota * 8n) {
      found.push(notice("warn", html`A database uses more than 80 % of its quota of ${bytes(dbSizeQuota)}.`))
    }
    if (dbSize > 64n * 1024n * 1024n && dbSizeInUse * 2n < dbSize) {
      found.push(notice("warn", html`More than half of a database is free: a defragmentation returns the space.`))
    }
  }
  return found
}

/** See the module's description. */
export const cluster: Page = Effect.fnUntraced(function* (context) {
  const { source } = context
  const { knowledge, value } = yield* source.read("cluster", Effect.provideService(readCluster, Etcd, source.etcd))
  return {
    title: "Cluster",
    knowledge,
    hasReadings: true,
    data: value === undefined ? undefined : {
      clusterId: hex(value.clusterId),
      members: value.members.map(({ member, status }) => ({
        ...member,
        id: hex(member.id),
        status: Result.isSuccess(status) ?
          {
            version: status.success.version,
            leader: hex(status.success.leader),
            dbSize: String(status.success.dbSize),
            raftIndex: String(status.success.raftIndex)
          } :
          { failure: status.failure }
      }))
    },
    blocks: [
      fixed(html`<h1>Cluster</h1>`),
      live(
        "cluster",
        value === undefined ? unknown("are no members") : html`
          <p class="lead">Cluster <span class="mono">${hex(value.clusterId)}</span>, ${count(
            value.members.length,
            "member"
          )}</p>
          ${hints(value)}
        `
      ),
      value === undefined ? live("members", html``) : rows({
        id: "members",
        caption:
          html`The state of a member is read from that member. With authentication, etcd permits it to root only.`,
        head: html`${
          ["Member", "Role", "Version", "Database", "Raft", "Client URLs"].map((label) =>
            html`<th scope="col">${label}</th>`
          )
        }`,
        rows: value.members.map(({ member, status }) => ({
          key: hex(member.id),
          cells: html`
            <th scope="row">${member.name === "" ?
              html`<span class="quiet">unnamed</span>` :
              foreign(member.name)} <small class="mono">${hex(member.id)}</small></th>
            ${Result.isFailure(status) ?
              html`
                <td data-label="State" colspan="4">
                  <div>Not known: ${status.failure}</div>
                </td>
              ` :
              memberCells(member, status.success)}
            ${cell("Client URLs", join(member.clientUrls.map(foreign), " "), "mono")}
          `
        })),
        empty: html`etcd lists no member.`
      })
    ]
  }
})

const memberCells = (member: Member, status: StatusResponse): Html => {
  const role = status.isLearner || member.isLearner ? "learner" : status.leader === member.id ? "leader" : "follower"
  const { dbSize, dbSizeInUse, dbSizeQuota, errors, raftAppliedIndex, raftIndex, raftTerm } = status
  return html`
    ${cell(
      "Role",
      html`${role}${errors.length > 0 ? html`<br><small>${join(errors.map(foreign), "; ")}</small>` : ""}`
    )}
    ${cell("Version", foreign(status.version))}
    ${cell(
      "Database",
      html`${bytes(dbSize)}${
        dbSizeInUse > 0n ?
          html`
            <small>${bytes(dbSizeInUse)} in use</small>
          ` :
          ""
      }${
        dbSizeQuota === undefined || dbSizeQuota === 0n ? "" : html`
          <small>quota ${bytes(dbSizeQuota)}</small>
        `
      }`
    )}
    ${cell(
      "Raft",
      html`term ${grouped(raftTerm)}, index ${grouped(raftIndex)}${
        raftAppliedIndex > 0n && raftIndex - raftAppliedIndex > 100n ?
          html`
            <small>${grouped(raftIndex - raftAppliedIndex)} not applied</small>
          ` :
          ""
      }`
    )}
  `
}
