/**
 * Renders instances and sets.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type { Freshness } from "../etcd/Freshness.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import { type Cell, printNote, statusCell, styled } from "./output.ts"

/** The columns of {@link rowOf}. */
export const header = ["ID", "STATUS", "WEIGHT", "VERSION", "ZONE", "ENDPOINTS"] as const

/** An instance as a row of a table. */
export const rowOf = (
  { endpoints, id, status, version, weight, zone }: ServiceInstance<unknown>
): ReadonlyArray<Cell> => [id, statusCell(status), String(weight), version ?? "-", zone ?? "-", endpoints.join(" ")]

/** The rejected keys of a set as rows of a table. */
export const rejectedRows = (set: InstanceSet<unknown>): ReadonlyArray<ReadonlyArray<Cell>> =>
  set.rejected.map(({ error, key }) => [key, styled("red", "rejected"), "-", "-", "-", error.detail])

/** A set as JSON. */
export const jsonOfSet = (service: string, set: InstanceSet<unknown>): unknown => ({
  service,
  revision: set.revision,
  freshness: jsonOfFreshness(set.freshness),
  instances: set.instances,
  rejected: set.rejected.map(({ error, key }) => ({ key, reason: error.detail }))
})

/** Returns the freshness of data as JSON. */
const jsonOfFreshness = (freshness: Freshness): unknown =>
  freshness._tag === "Live" ?
    { state: "live" } :
    { state: "stale", since: new Date(freshness.since).toISOString(), reason: freshness.cause.message }

/** Prints the rejected keys of a set to standard error. */
export const noteRejected = (set: InstanceSet<unknown>): Effect.Effect<void> =>
  Effect.forEach(set.rejected, ({ error, key }) => printNote(`rejected ${key}: ${error.detail}`), { discard: true })
