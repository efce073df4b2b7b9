/**
 * The options that locks, elections and semaphores share.
 *
 * @module
 */
import { type Duration, Option } from "effect"
import * as Ttl from "../etcd/Ttl.ts"
import type { Check } from "../internal/options.ts"
import { defaultTtl, type Session } from "./Session.ts"

/**
 * How to wait for a lock, a leadership or a permit.
 *
 * @since 0.1.0
 * @category models
 */
export interface AcquireOptions {
  /** How long the lease lasts without a heartbeat: whole seconds, at least 2. Default: 10 seconds. */
  readonly ttl?: Duration.Input
  /** How long to wait, including outages of etcd. Default: forever. */
  readonly timeout?: Duration.Input
  /** The lease to use, in which case `ttl` has no effect. Default: a lease of its own. */
  readonly session?: Session
}

/** Checked options. */
export interface Plan {
  readonly name: string
  readonly ttl: Ttl.Ttl
  readonly timeout: Option.Option<Duration.Duration>
  readonly session: Session | undefined
}

/** Checks a name and the options beside it. */
export const plan = (check: Check, name: string, options: AcquireOptions): Plan => ({
  name: validName(check, name),
  ttl: Ttl.make(check, options.ttl ?? defaultTtl, undefined),
  timeout: options.timeout === undefined ? Option.none() : Option.some(check.duration("timeout", options.timeout)),
  session: options.session === undefined ? undefined : validSession(check, options.session)
})

const validSession = (check: Check, session: Session): Session =>
  typeof check.object("session", session).leaseId === "bigint" ?
    session :
    check.refuse("session", session, "it must be a session: yield* Session.make()")

/** Checks a name. Nothing is added before it, so that other clients can use the same name. */
export const validName = (check: Check, name: string): string =>
  check.text("name", name) !== "" && name.isWellFormed() ?
    name :
    check.refuse("name", name, "it must be a text that is not empty, such as /locks/orders")
