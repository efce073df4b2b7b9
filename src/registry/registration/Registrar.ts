/**
 * What the registrations of one registry share.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { FollowOptions } from "../../etcd/follow.ts"
import * as Session from "../../etcd/Session.ts"
import { Timers } from "../../internal/time/Timers.ts"
import * as Burst from "./burst.ts"
import type { ClaimOptions } from "./claim.ts"
import * as ClaimBatch from "./claimBatch.ts"
import * as Early from "./early.ts"
import * as OwnKeys from "./ownKeys.ts"
import * as Recovery from "./recovery.ts"
import { makeScopes, type Scopes } from "./scopes.ts"
import { SharedLeases } from "./SharedLeases.ts"

/** What the registrations of one registry share. */
export interface Registrar {
  readonly etcd: Etcd
  readonly open: Early.Open
  /** Sends the Txns of claims in batches. */
  readonly putIf: ClaimOptions["putIf"]
  readonly ownKeys: OwnKeys.OwnKeys
  readonly recovery: Recovery.Recovery
  readonly timers: Timers
  readonly followOptions: Omit<FollowOptions, "range" | "knownAt">
  /** Sessions of registrations with `lease: "shared"`. */
  readonly shared: SharedLeases
  /** The keys that are registered under a shared lease. */
  readonly sharedKeys: Set<string>
  readonly scopes: Scopes
  /** The turn of a registration that starts, if many do. */
  readonly burst: Effect.Effect<void>
}

/** Makes what registrations share, for the scope of the registry. Nothing runs while there is no registration. */
export const make = Effect.fnUntraced(function* (
  etcd: Etcd,
  followOptions: Registrar["followOptions"]
): Effect.fn.Return<Registrar, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const timers = new Timers(context)
  const sessions = Session.make(etcd, timers, context)
  const burst = Burst.make(context)
  return {
    etcd,
    open: Early.make(etcd, sessions, timers),
    putIf: ClaimBatch.make(etcd, timers),
    shared: new SharedLeases(sessions, timers),
    sharedKeys: new Set(),
    ownKeys: OwnKeys.make(etcd, followOptions, context),
    recovery: Recovery.make(etcd, context),
    timers,
    followOptions,
    scopes: yield* makeScopes(burst),
    burst
  }
})
