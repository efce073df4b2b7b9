/**
 * The state of one registration.
 *
 * @module
 */
import { Cause, Deferred, Effect, Result, type Scope } from "effect"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { Inbox } from "../../internal/Inbox.ts"
import { Latest } from "../../internal/Latest.ts"
import { Steps } from "../../internal/time/Steps.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import type { Claimant } from "./claim.ts"
import type { HealthState } from "./health.ts"
import type { SeenKey } from "./ownKeys.ts"
import { Pace } from "./Pace.ts"
import * as Phase from "./phase.ts"
import { encode, type RegistrationPlan } from "./RegisterOptions.ts"
import type { Waiter } from "./recovery.ts"
import type { Registrar } from "./Registrar.ts"
import type { RegistrationError } from "./RegistrationError.ts"
import * as Wanted from "./wanted.ts"

/** The messages to the fiber of a registration. */
export type Message<M> =
  | { readonly _tag: "LeaseLost"; readonly leaseId: LeaseId; readonly cause: EtcdError }
  | { readonly _tag: "KeySeen"; readonly leaseId: LeaseId; readonly seen: SeenKey }
  | {
    readonly _tag: "Change"
    readonly change: (wanted: Wanted.Wanted<M>) => Wanted.Wanted<M>
    readonly done: Deferred.Deferred<void, RegistrationError>
  }
  /** The scope closes: publish `"draining"`, and leave once `drain` has passed. */
  | { readonly _tag: "Release" }
  | { readonly _tag: "Drained"; readonly leftMillis: number }
  /** Health may have changed, or a delayed write is due: write the wanted value if it is not in etcd. */
  | { readonly _tag: "Publish" }
  /** A fiber that works for the registration died. */
  | { readonly _tag: "Died"; readonly cause: Cause.Cause<unknown> }

/** How many of its own leases a registration keeps in mind. */
const maxOwnLeases = 16

/** An instance and its bytes. */
export interface Encoded<M> {
  readonly instance: ServiceInstance<M>
  readonly value: Uint8Array
}

/** A registration. Only its fiber writes to it. */
export class Owner<M> implements Claimant<M> {
  readonly registrar: Registrar
  readonly plan: RegistrationPlan<M>
  readonly inbox: Inbox<Message<M>> = new Inbox()
  readonly waiter: Waiter
  /** Completes with the first claim, or with a failure before it. */
  readonly started = Deferred.makeUnsafe<void, RegistrationError>()
  readonly failed = Deferred.makeUnsafe<never, RegistrationError>()
  readonly releasing = Deferred.makeUnsafe<void>()
  readonly released = Deferred.makeUnsafe<void>()
  readonly statuses: Latest<Phase.RegistrationStatus> = new Latest()
  readonly backoff: Steps<Phase.Failure>
  phase: Phase.Phase = Phase.initial
  wanted: Wanted.Wanted<M>
  /** The newest result of the health check. */
  health: HealthState | undefined
  /** The value that was last written, or found in etcd since. */
  written: Encoded<M>
  /** Values that were sent since then and may have been applied. */
  sent: ReadonlyArray<Uint8Array> = []
  readonly pace = new Pace()
  /** Whether a delayed `Publish` message is scheduled. */
  isPublishPlanned = false
  /** When the newest lease expires, in milliseconds of the monotonic clock. */
  leaseExpiresAt: (() => number) | undefined
  /** Whether the last tenure ended without removing the key: etcd keeps it until its lease expires. */
  isKeyLeft: () => boolean = () => false
  /** Own leases that were lost and not yet revoked. etcd may still have them, and the key under one of them. */
  readonly lostLeases = new Set<LeaseId>()
  /** The newest last. */
  ownLeases: ReadonlyArray<LeaseId> = []
  /** Changes that were pending when the lease was lost. The next claim writes them. */
  unwritten: Array<Deferred.Deferred<void, RegistrationError>> = []
  #encoded: Encoded<M>
  #published: {
    readonly wanted: Wanted.Wanted<M>
    readonly health: HealthState["status"] | undefined
    readonly instance: ServiceInstance<M>
  }

  constructor(registrar: Registrar, plan: RegistrationPlan<M>, waiter: Waiter) {
    this.registrar = registrar
    this.plan = plan
    this.waiter = waiter
    this.backoff = new Steps(plan.retry)
    this.wanted = Wanted.make(plan.instance)
    this.#encoded = plan
    this.written = plan
    this.#published = { wanted: this.wanted, health: undefined, instance: plan.instance }
    this.statuses.set(this.status)
  }

  get status(): Phase.RegistrationStatus {
    return Phase.statusOf(this.phase)
  }

  get lastRevision(): bigint | undefined {
    return this.phase._tag === "Ended" ? undefined : this.phase.lastRevision
  }

  /** The instance to publish now. */
  get instance(): ServiceInstance<M> {
    const { health, wanted } = this
    if (this.#published.wanted !== wanted || this.#published.health !== health?.status) {
      this.#published = { wanted, health: health?.status, instance: Wanted.published(wanted, health?.status) }
    }
    return this.#published.instance
  }

  /** The instance to publish now, and its bytes. */
  get encoded(): Encoded<M> {
    const { instance } = this
    if (this.#encoded.instance !== instance) {
      this.#encoded = { instance, value: Result.getOrThrow(encode(this.plan.codec, instance)) }
    }
    return this.#encoded
  }

  /** The value to publish now; records that it was sent. */
  value(): Uint8Array {
    const { value } = this.encoded
    this.sent = [...this.sent.slice(-3), value]
    return value
  }

  /** Records that the value that was sent last is in etcd. */
  confirm(): void {
    this.written = this.#encoded
    this.sent = []
  }

  isOwn(lease: LeaseId): boolean {
    return this.ownLeases.includes(lease)
  }

  addLease(lease: LeaseId): void {
    if (!this.isOwn(lease)) this.ownLeases = [...this.ownLeases, lease].slice(-maxOwnLeases)
  }

  waitUntil(limit: number): number {
    if (this.phase._tag !== "Claiming") return limit
    this.become(Phase.whileWaiting(this.phase, limit))
    return this.phase.waitUntil ?? limit
  }

  /** Replaces the phase, and publishes its status if it differs. */
  become(phase: Phase.Phase): void {
    const before = this.phase
    this.phase = phase
    if (!Phase.hasSameStatus(before, phase)) this.statuses.set(this.status)
  }

  /** Sends a message to the fiber. A waiting fiber runs before the next turn of the event loop. */
  offer(message: Message<M>): void {
    this.inbox.offer(message)
  }

  /** A fiber that works for the registration has ended. If it died, so does the registration. */
  onExit(cause: Cause.Cause<unknown>): void {
    if (!Cause.hasInterruptsOnly(cause)) this.offer({ _tag: "Died", cause })
  }
}

/** Forks an effect that works for the registration until the scope closes. If it dies, so does the registration. */
export const forkFor = <M, A, E>(
  owner: Owner<M>,
  effect: Effect.Effect<A, E>
): Effect.Effect<unknown, never, Scope.Scope> =>
  Effect.forkScoped(Effect.catchCause(effect, (cause) => Effect.sync(() => owner.onExit(cause))))
