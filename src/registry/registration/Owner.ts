/**
 * The state of one registration.
 *
 * @module
 */
import { Deferred, Queue, Result } from "effect"
import type { LeaseId } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { Latest } from "../../internal/Latest.ts"
import { Steps } from "../../internal/time/Steps.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import type { Claimant } from "./claim.ts"
import type { SeenKey } from "./ownKey.ts"
import * as Phase from "./phase.ts"
import { encode, type RegistrationPlan } from "./RegisterOptions.ts"
import type { Registrar } from "./Registrar.ts"
import type { RegistrationError } from "./RegistrationError.ts"

/** What happens to a registration. */
export type Message<M> =
  | { readonly _tag: "LeaseLost"; readonly leaseId: LeaseId; readonly cause: EtcdError }
  | { readonly _tag: "KeySeen"; readonly leaseId: LeaseId; readonly seen: SeenKey }
  | {
    readonly _tag: "Change"
    readonly change: (instance: ServiceInstance<M>) => ServiceInstance<M>
    readonly done: Deferred.Deferred<void, RegistrationError>
  }
  /** The scope closes: publish `"draining"`, and leave once `drain` has passed. */
  | { readonly _tag: "Release" }
  | { readonly _tag: "Drained" }

/** How many leases a registration remembers as its own. */
const maxOwnLeases = 16

/** A registration. Only its fiber writes to it. */
export class Owner<M> implements Claimant<M> {
  readonly registrar: Registrar
  readonly plan: RegistrationPlan<M>
  readonly inbox: Queue.Queue<Message<M>>
  /** Claimed for the first time, or failed before that. */
  readonly started = Deferred.makeUnsafe<void, RegistrationError>()
  readonly failed = Deferred.makeUnsafe<never, RegistrationError>()
  readonly releasing = Deferred.makeUnsafe<void>()
  readonly released = Deferred.makeUnsafe<void>()
  readonly statuses: Latest<Phase.RegistrationStatus> = new Latest()
  readonly backoff: Steps<Phase.Failure>
  phase: Phase.Phase = Phase.initial
  instance: ServiceInstance<M>
  /** The newest last. */
  ownLeases: ReadonlyArray<LeaseId> = []
  /** Changes that were about to be written when the lease was lost. The next claim writes them. */
  unwritten: Array<Deferred.Deferred<void, RegistrationError>> = []
  #encoded: { readonly instance: ServiceInstance<M>; readonly value: Uint8Array }

  constructor(registrar: Registrar, plan: RegistrationPlan<M>, inbox: Queue.Queue<Message<M>>) {
    this.registrar = registrar
    this.plan = plan
    this.inbox = inbox
    this.backoff = new Steps(plan.retry)
    this.instance = plan.instance
    this.#encoded = plan
    this.statuses.set(this.status)
  }

  get status(): Phase.RegistrationStatus {
    return Phase.statusOf(this.phase)
  }

  get lastRevision(): bigint | undefined {
    return this.phase._tag === "Ended" ? undefined : this.phase.lastRevision
  }

  get value(): Uint8Array {
    const { instance } = this
    if (this.#encoded.instance !== instance) {
      this.#encoded = { instance, value: Result.getOrThrow(encode(this.plan.codec, instance)) }
    }
    return this.#encoded.value
  }

  isOwn(lease: LeaseId): boolean {
    return this.ownLeases.includes(lease)
  }

  addLease(lease: LeaseId): void {
    this.ownLeases = [...this.ownLeases, lease].slice(-maxOwnLeases)
  }

  waitUntil(limit: number): number {
    if (this.phase._tag !== "Claiming") return limit
    this.become(Phase.whileWaiting(this.phase, limit))
    return this.phase.waitUntil ?? limit
  }

  /** Replaces the phase, and publishes its status if that is another one. */
  become(phase: Phase.Phase): void {
    const before = this.phase
    this.phase = phase
    if (!Phase.hasSameStatus(before, phase)) this.statuses.set(this.status)
  }

  /** Gives a message to the fiber. A fiber that waits for one runs before the next turn of the event loop. */
  offer(message: Message<M>): void {
    Queue.offerUnsafe(this.inbox, message)
    queueMicrotask(() => Queue.flushUnsafe(this.inbox))
  }
}
