/**
 * Which instances are taken out because calls to them fail: outlier ejection.
 *
 * Counts per instance what its calls come to. Too many failures in a row, or too low a share of successes, ejects it:
 * it gets no calls for a while that doubles each time. When that has passed it gets one call, the probe, and no other
 * until that has ended: a success brings it back, a failure ejects it again. After it has been back for as long as it
 * was ejected last, the next time is a first time again. Never more than a stated share of the set is out at a time.
 *
 * After Finagle's `FailureAccrualFactory` (consecutive failures or success rate, backoff, probing) and Envoy's outlier
 * detection (ejection time that grows, `max_ejection_percent`).
 *
 * @module
 */
import { SlidingSum } from "./SlidingSum.ts"

/** When an instance is taken out, and for how long, in milliseconds. */
export interface AccrualRules {
  readonly consecutive: number
  readonly successRate: { readonly below: number; readonly window: number; readonly minCalls: number } | undefined
  readonly ejectFor: number
  readonly ejectForMost: number
  readonly maxEjected: number
}

/** How an instance is doing. `until`: milliseconds of the clock that all times of a {@link FailureAccrual} are of. */
export type Health =
  | { readonly _tag: "Healthy" }
  | { readonly _tag: "Ejected"; readonly until: number; readonly times: number }
  | { readonly _tag: "Probing"; readonly times: number }

/** What a call came to: `undefined` when it shows nothing about the instance, such as one that was interrupted. */
export type Outcome = "success" | "failure" | undefined

interface Member {
  health: Health
  consecutive: number
  readonly window: { readonly calls: SlidingSum; readonly failures: SlidingSum } | undefined
  /** How often it was ejected since it was last well for long enough. */
  times: number
  /** How long the last ejection lasted, and when it ended. */
  lasted: number
  back: number
}

const healthy: Health = { _tag: "Healthy" }

/** The health of a service's instances. */
export class FailureAccrual {
  readonly #rules: AccrualRules
  readonly #members = new Map<string, Member>()
  readonly #out = new Set<string>()
  #size = 0

  constructor(rules: AccrualRules) {
    this.#rules = rules
  }

  /** How many instances take traffic now. Those that have left are told by `forget`. */
  resize(size: number, now: number): void {
    this.#size = size
    // The share holds for a smaller set, too: who would be back first is probed now.
    const early = Array.from(this.#out, (id) => ({ id, health: this.health(id) }))
      .flatMap(({ health, id }) => health._tag === "Ejected" && health.until > now ? [{ id, health }] : [])
      .sort((a, b) => a.health.until - b.health.until)
    const surplus = this.#out.size - this.#allowed
    for (const { health, id } of early.slice(0, Math.max(0, surplus))) this.#set(id, { ...health, until: now })
  }

  /** Nothing is known of this instance any longer. */
  forget(id: string): void {
    this.#members.delete(id)
    this.#out.delete(id)
  }

  /** The instances that are ejected or being probed. */
  get out(): ReadonlySet<string> {
    return this.#out
  }

  /** Whether an instance may get a call. */
  admits(id: string, now: number): boolean {
    const health = this.health(id)
    return health._tag === "Healthy" || health._tag === "Ejected" && health.until <= now
  }

  /** How an instance is doing. */
  health(id: string): Health {
    return this.#members.get(id)?.health ?? healthy
  }

  /** The next moment at which an ejected instance may be probed. */
  get nextProbe(): number {
    let next = Number.POSITIVE_INFINITY
    for (const id of this.#out) {
      const health = this.health(id)
      if (health._tag === "Ejected") next = Math.min(next, health.until)
    }
    return next
  }

  /** A call begins; whether it is the probe. */
  begin(id: string): boolean {
    const health = this.health(id)
    if (health._tag !== "Ejected") return false
    this.#set(id, { _tag: "Probing", times: health.times })
    return true
  }

  /** A call has ended; whether the instance was ejected by it. */
  end(id: string, isProbe: boolean, outcome: Outcome, now: number): boolean {
    const member = this.#members.get(id)
    if (isProbe) {
      // The instance may have left in the meantime, and come back as a new one.
      if (member?.health._tag !== "Probing") return false
      const { times } = member.health
      if (outcome === "success") this.#restore(id, member, now)
      else if (outcome === undefined) this.#set(id, { _tag: "Ejected", until: now, times })
      else return this.#eject(id, member, now)
      return false
    }
    if (outcome === undefined || member !== undefined && member.health._tag !== "Healthy") return false
    if (member === undefined && outcome === "success" && this.#rules.successRate === undefined) return false
    return this.#count(id, member ?? this.#add(id), outcome, now)
  }

  get #allowed(): number {
    return Math.floor(this.#rules.maxEjected * this.#size)
  }

  #add(id: string): Member {
    const rate = this.#rules.successRate
    const window = rate && { calls: new SlidingSum(rate.window), failures: new SlidingSum(rate.window) }
    const member: Member = { health: healthy, consecutive: 0, window, times: 0, lasted: 0, back: 0 }
    this.#members.set(id, member)
    return member
  }

  #count(id: string, member: Member, outcome: "success" | "failure", now: number): boolean {
    member.consecutive = outcome === "success" ? 0 : member.consecutive + 1
    member.window?.calls.add(1, now)
    if (outcome === "success") return false
    member.window?.failures.add(1, now)
    if (!(member.consecutive >= this.#rules.consecutive || this.#isBelowRate(member, now))) return false
    return this.#out.size < this.#allowed && this.#eject(id, member, now)
  }

  #isBelowRate({ window }: Member, now: number): boolean {
    const rate = this.#rules.successRate
    if (rate === undefined || window === undefined) return false
    const calls = window.calls.at(now)
    return calls >= rate.minCalls && 1 - window.failures.at(now) / calls < rate.below
  }

  #eject(id: string, member: Member, now: number): true {
    const isAfresh = member.health._tag === "Healthy" && now - member.back >= member.lasted
    member.times = isAfresh ? 1 : member.times + 1
    member.lasted = Math.min(this.#rules.ejectFor * 2 ** (member.times - 1), this.#rules.ejectForMost)
    this.#set(id, { _tag: "Ejected", until: now + member.lasted, times: member.times })
    return true
  }

  #restore(id: string, member: Member, now: number): void {
    member.consecutive = 0
    member.window?.calls.clear()
    member.window?.failures.clear()
    member.back = now
    this.#set(id, healthy)
  }

  #set(id: string, health: Health): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    member.health = health
    if (health._tag === "Healthy") this.#out.delete(id)
    else this.#out.add(id)
  }
}
