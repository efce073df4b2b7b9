/**
 * The better of two: two instances are drawn at random, in proportion to their weights, and the less loaded one gets the
 * call. That keeps the load nearly as even as asking all would, at constant cost, and without the herd that asking all
 * makes of clients who see the same numbers (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
 * IEEE TPDS 12(10), 2001).
 *
 * Weights act twice: in the draw, and in what load is due to an instance. Of two with equal load the first one drawn
 * wins, so that idle instances get calls in proportion to their weights.
 *
 * @module
 */
import { Duration, Option, Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import {
  type Chooser,
  invalid,
  type Known,
  make,
  noCall,
  type Outcome,
  type PickRequest,
  type Strategy
} from "../Strategy.ts"
import { type Member, Pool } from "./Pool.ts"

/** What is measured of one instance. */
interface Load {
  readonly begin: () => void
  readonly end: (tookMillis: number, outcome: Outcome) => void
  /** The less, the better. `share`: the weight of the instance as a multiple of the mean. */
  readonly read: (now: number, share: number) => number
  readonly inspect: (now: number) => Known
}

class TwoChoices<M> implements Chooser<M> {
  readonly #pool = new Pool<M, Load>()
  readonly #unloaded: () => Load

  constructor(unloaded: () => Load) {
    this.#unloaded = unloaded
  }
  put(instance: ServiceInstance<M>, available: boolean): void {
    this.#pool.put(instance, available ? instance.weight : 0, this.#unloaded)
  }
  remove(id: string): void {
    this.#pool.remove(id)
  }
  pick({ exclude, now, random }: PickRequest): ServiceInstance<M> | undefined {
    const one = this.#pool.draw(random, ({ instance }) => exclude?.(instance.id) === true)
    if (one === undefined) return undefined
    const other = this.#pool.draw(
      random,
      (member) => member === one || exclude?.(member.instance.id) === true
    )
    return (other === undefined || this.#load(one, now) <= this.#load(other, now) ? one : other).instance
  }
  begin(id: string, began: number): (outcome: Outcome) => void {
    const load = this.#pool.known.get(id)?.state
    if (load === undefined) return noCall
    load.begin()
    return (outcome) => load.end(Math.max(0, outcome.now - began), outcome)
  }
  inspect(now: number): ReadonlyMap<string, Known> {
    return new Map(Array.from(this.#pool.known, ([id, { state }]) => [id, state.inspect(now)]))
  }
  #load({ state, weight }: Member<M, Load>, now: number): number {
    return state.read(now, weight / this.#pool.meanWeight)
  }
}

class InFlight implements Load {
  #inFlight = 0

  begin(): void {
    this.#inFlight++
  }
  end(): void {
    this.#inFlight--
  }
  read(_now: number, share: number): number {
    return this.#inFlight / share
  }
  inspect(): Known {
    return { inFlight: this.#inFlight }
  }
}

/** Milliseconds below which latencies count as equal, so that calls in flight count among the fast, too. */
const leastCost = 1e-3

/** More than any latency: an instance of which nothing is known but a call in flight is the worse choice. */
const unknownCost = 1e9

class PeakEwma implements Load {
  readonly #decay: number
  #inFlight = 0
  /** The latency at `#at`, or `undefined` before the first one. */
  #cost: number | undefined
  #at = 0

  constructor(decay: number) {
    this.#decay = decay
  }
  begin(): void {
    this.#inFlight++
  }
  end(took: number, { now, ok }: Outcome): void {
    this.#inFlight--
    if (this.#cost === undefined || took > this.#cost) this.#cost = took
    // An instance that fails fast must not look like a fast one.
    else if (!ok) return
    else this.#cost = took + (this.#cost - took) * this.#weightAt(now)
    this.#at = Math.max(now, this.#at)
  }
  read(now: number, share: number): number {
    const cost = this.#costAt(now) ?? (this.#inFlight === 0 ? 0 : unknownCost)
    return Math.max(cost, leastCost) * (1 + this.#inFlight / share)
  }
  inspect(now: number): Known {
    const cost = this.#costAt(now)
    return { inFlight: this.#inFlight, ...(cost === undefined ? {} : { ewmaMillis: cost }) }
  }
  #costAt(now: number): number | undefined {
    return this.#cost === undefined ? undefined : this.#cost * this.#weightAt(now)
  }
  /** How much of what was measured still counts. */
  #weightAt(now: number): number {
    return Math.exp(-Math.max(0, now - this.#at) / this.#decay)
  }
}

/**
 * The one of two with fewer calls in flight for its weight.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.leastRequests.pipe(Balancer.panic(0.5))
 * assert.equal(strategy.name, "panic(leastRequests)")
 * ```
 */
export const leastRequests: Strategy = make(
  "leastRequests",
  <M>() => Result.succeed<Chooser<M>>(new TwoChoices<M>(() => new InFlight()))
)

/** How {@link peakEwmaWith} forgets. */
export interface PeakEwmaOptions {
  /** After how long a latency counts for 37 % (1/e) only. Default: 10 seconds. */
  readonly decay?: Duration.Input
}

/**
 * {@link peakEwma} with another decay.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Result } from "effect"
 * import assert from "node:assert/strict"
 *
 * assert.ok(Result.isSuccess(Balancer.make(Balancer.peakEwmaWith({ decay: "2 seconds" }))))
 * assert.ok(Result.isFailure(Balancer.make(Balancer.peakEwmaWith({ decay: 0 }))))
 * ```
 */
export const peakEwmaWith = ({ decay = "10 seconds" }: PeakEwmaOptions): Strategy =>
  make("peakEwma", <M>() => {
    const millis = Option.match(Duration.fromInput(decay), { onNone: () => Number.NaN, onSome: Duration.toMillis })
    return millis > 0 && millis < Infinity ?
      Result.succeed<Chooser<M>>(new TwoChoices<M>(() => new PeakEwma(millis))) :
      invalid("peakEwma", "decay", decay, "it must be a finite duration above 0")
  })

/**
 * The one of two with the lower latency, times the calls in flight (for its weight) and the one to come.
 *
 * The latency is a moving average that jumps up at once and comes down slowly, as in Finagle ("Peak EWMA",
 * twitter.github.io/finagle, Clients): a stalling instance is left with its first slow answer, and one that is not called
 * is forgotten to be slow, and so is tried again. A failure never lowers it: failing fast attracts no calls.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.peakEwma.pipe(Balancer.zoneAware({ zone: "eu-1a", minLocal: 3 }), Balancer.slowStart("30 seconds"))
 * assert.equal(strategy.name, "slowStart(zoneAware(peakEwma))")
 * ```
 */
export const peakEwma: Strategy = peakEwmaWith({})
