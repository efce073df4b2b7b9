/**
 * Outlier ejection: instances whose calls fail temporarily get no calls.
 *
 * Too many consecutive failures, or too low a success rate, eject an instance. The time doubles with each ejection.
 * Afterwards the instance gets one call, the probe, and no other call until the probe ends. If the probe succeeds, the
 * instance is restored; if it fails, the instance is ejected again. After an instance has stayed restored for as long
 * as its last ejection, its next ejection counts as the first. Only a limited share of the instances may be ejected at
 * a time.
 *
 * ```
 * Healthy ── failures ──▶ Ejected ── time has passed, a call begins ──▶ Probing
 * Probing ── success ──▶ Healthy      Probing ── failure ──▶ Ejected, for twice as long
 * ```
 *
 * Modelled on Finagle's `FailureAccrualFactory` and Envoy's outlier detection (`max_ejection_percent`). Effect's
 * `CircuitBreaker` has no such limit and no synchronous admission (ADR 0089).
 *
 * @module
 */
import { SlidingSum } from "../../internal/time/SlidingSum.ts"

/** The checked options of a {@link FailureAccrual}. Times are milliseconds. */
export interface AccrualRules {
  readonly consecutive: number
  readonly successRate: { readonly below: number; readonly window: number; readonly minCalls: number } | undefined
  readonly ejectFor: number
  readonly maxEjectionTime: number
  readonly maxEjected: number
}

/** The health of an instance. `until` is in milliseconds on a monotonic clock, `times` the number of ejections in a row. */
export type Health =
  | { readonly _tag: "Healthy" }
  | { readonly _tag: "Ejected"; readonly until: number; readonly times: number }
  | { readonly _tag: "Probing"; readonly times: number }

/** The result of a call for its instance. `undefined` if it does not concern the instance, such as an interruption. */
export type Outcome = "success" | "failure" | undefined

interface Member {
  health: Health
  consecutive: number
  readonly window: { readonly calls: SlidingSum; readonly failures: SlidingSum } | undefined
  /** The number of ejections in a row. */
  times: number
  /** The length of the last ejection, and when a probe ended it. */
  lasted: number
  restoredAt: number
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

  /** Sets the number of available instances. Call `forget` for those that left. */
  resize(size: number, now: number): void {
    this.#size = size
    // A smaller set allows fewer ejections: those that end first may be probed now.
    const early = Array.from(this.#out, (id) => ({ id, health: this.health(id) }))
      .flatMap(({ health, id }) => health._tag === "Ejected" && health.until > now ? [{ id, health }] : [])
      .sort((a, b) => a.health.until - b.health.until)
    const surplus = this.#out.size - this.#allowed
    for (const { health, id } of early.slice(0, Math.max(0, surplus))) this.#set(id, { ...health, until: now })
  }

  /** Removes the health of an instance. */
  forget(id: string): void {
    this.#members.delete(id)
    this.#out.delete(id)
  }

  /** The instances that are ejected or probed. */
  get out(): ReadonlySet<string> {
    return this.#out
  }

  /** Whether an instance may get a call now. */
  admits(id: string, now: number): boolean {
    const health = this.health(id)
    return health._tag === "Healthy" || health._tag === "Ejected" && health.until <= now
  }

  /** The health of an instance. */
  health(id: string): Health {
    return this.#members.get(id)?.health ?? healthy
  }

  /** The earliest time at which an ejected instance may be probed, or `Infinity`. */
  get nextProbe(): number {
    let next = Number.POSITIVE_INFINITY
    for (const id of this.#out) {
      const health = this.health(id)
      if (health._tag === "Ejected") next = Math.min(next, health.until)
    }
    return next
  }

  /** Records the start of a call. Returns true if the call is the probe. */
  begin(id: string): boolean {
    const health = this.health(id)
    if (health._tag !== "Ejected") return false
    this.#set(id, { _tag: "Probing", times: health.times })
    return true
  }

  /** Records the end of a call. Returns true if that ejects the instance. */
  end(id: string, isProbe: boolean, outcome: Outcome, now: number): boolean {
    const member = this.#members.get(id)
    if (isProbe) {
      // Meanwhile the instance may have left, and a new one with the same id may have joined.
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
    const member: Member = { health: healthy, consecutive: 0, window, times: 0, lasted: 0, restoredAt: 0 }
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
    const isAfresh = member.health._tag === "Healthy" && now - member.restoredAt >= member.lasted
    member.times = isAfresh ? 1 : member.times + 1
    member.lasted = Math.min(this.#rules.ejectFor * 2 ** (member.times - 1), this.#rules.maxEjectionTime)
    this.#set(id, { _tag: "Ejected", until: now + member.lasted, times: member.times })
    return true
  }

  #restore(id: string, member: Member, now: number): void {
    member.consecutive = 0
    member.window?.calls.clear()
    member.window?.failures.clear()
    member.restoredAt = now
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
