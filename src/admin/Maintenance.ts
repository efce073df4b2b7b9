/**
 * The state of each member, and its upkeep.
 *
 * @since 0.1.0
 * @module
 */
import { Effect } from "effect"
import type { Alarm } from "../etcd/Administration.ts"
import { Etcd, type StatusResponse } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { InvalidOption } from "../internal/options.ts"
import { callsTo } from "./calls.ts"

/**
 * The state of the member at an endpoint, such as one of a member's `clientUrls`.
 *
 * **Details**
 *
 * Connects to that member alone, with the certificates and the user of the client. Fails with `InvalidOption` if the
 * endpoint is malformed, or is `http://` where the client uses `https://` or the other way round. The member needs
 * neither a leader nor a quorum to answer. The engine's only endpoint is `memory://engine`.
 *
 * **Gotchas**
 *
 * With authentication on, etcd permits it to root only.
 *
 * @since 0.1.0
 * @category state
 */
export const status = (endpoint: string): Effect.Effect<StatusResponse, EtcdError | InvalidOption, Etcd> =>
  Effect.flatMap(callsTo("Maintenance.status", endpoint), ({ status }) => status)

/**
 * The alarms of all members. Empty on the embedded engine.
 *
 * @since 0.1.0
 * @category alarms
 */
export const alarms: Effect.Effect<ReadonlyArray<Alarm>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) => Effect.map(administration.alarms, ({ alarms }) => alarms)
)
