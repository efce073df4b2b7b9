/**
 * Administration of an etcd cluster: members, users and roles, maintenance.
 *
 * **When to use**
 *
 * `Members` lists and changes the members. `Maintenance` covers the state of a member, alarms, defragmentation and
 * snapshots. `Auth` covers users and roles.
 *
 * @since 0.1.0
 * @module
 */
export type { Alarm, Member } from "../etcd/Administration.ts"
export * as Auth from "./Auth.ts"
export type { MemberId } from "./calls.ts"
export * as Maintenance from "./Maintenance.ts"
export * as Members from "./Members.ts"
