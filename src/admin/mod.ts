/**
 * Administration of an etcd cluster: its members, its users and roles, its maintenance.
 *
 * **When to use**
 *
 * `Members` to list and change the members, `Maintenance` for the state of a member, alarms, defragmentation and
 * snapshots, `Auth` for users and roles.
 *
 * @since 0.1.0
 * @module
 */
export type { Alarm, Member } from "../etcd/Administration.ts"
export * as Auth from "./Auth.ts"
export type { MemberId } from "./calls.ts"
export * as Maintenance from "./Maintenance.ts"
export * as Members from "./Members.ts"
