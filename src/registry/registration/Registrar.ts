/**
 * What the registrations of one registry share.
 *
 * @module
 */
import { type Context, Effect, type Scope } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { FollowOptions } from "../../etcd/follow.ts"
import * as Session from "../../etcd/Session.ts"
import { Timers } from "../../internal/time/Timers.ts"
import * as Recovery from "./recovery.ts"

/** What the registrations of one registry share. */
export interface Registrar {
  readonly etcd: Etcd
  readonly sessions: Session.Sessions
  readonly recovery: Recovery.Recovery
  readonly timers: Timers
  readonly followOptions: Omit<FollowOptions, "range" | "knownAt">
  /** A scope within the caller's that ends, at the latest, while the client of the registry still works. */
  readonly openScope: Effect.Effect<Scope.Closeable, never, Scope.Scope>
}

/** Makes what registrations share, in the context of the caller. Nothing runs while there is no registration. */
export const make = (
  etcd: Etcd,
  followOptions: Omit<FollowOptions, "range" | "knownAt">,
  openScope: Registrar["openScope"]
): Effect.Effect<Registrar> =>
  Effect.map(Effect.context<never>(), (context: Context.Context<never>) => {
    const timers = new Timers(context)
    const sessions = Session.make(etcd, timers, context)
    return { etcd, sessions, recovery: Recovery.make(), timers, followOptions, openScope }
  })
