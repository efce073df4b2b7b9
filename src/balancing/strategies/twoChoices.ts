/**
 * The less loaded of two random instances.
 *
 * Draws two instances at random, in proportion to their weights. The less loaded one gets the call. That balances the
 * load nearly as well as comparing all instances, at constant cost. It also avoids herding, where clients with the same
 * data all choose the same instance (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE
 * TPDS 12(10), 2001).
 *
 * Weights count twice: in the draw, and in the load that an instance should have. If two have equal load, the first one
 * drawn wins, so idle instances get calls in proportion to their weights.
 *
 * @module
 */
import { Duration, Result } from "effect"
import { checkOptions } from "../../internal/options.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import {
  type Inspection,
  make,
  noCall,
  type Outcome,
  type Picker,
  type PickRequest,
  type Strategy
} from "../Strategy.ts"
import { type Member, Pool } from "./Pool.ts"

/** The measurements of one instance. */
interface Load {
  readonly begin: () => void
  readonly end: (latencyMillis: number, outcome: Outcome) => void
  /** The load; lower is better. `share` is the weight of the instance as a multiple of the mean. */
  readonly read: (now: number, share: number) => number
  readonly inspect: (now: number) => Inspection
}

class TwoChoices<M> implements Picker<M> {
  readonly #pool = new Pool<M, Load>()
  readonly #initialLoad: () => Load

  constructor(initialLoad: () => Load) {
    this.#initialLoad = initialLoad
  }

  put(instance: ServiceInstance<M>, available: boolean): void {
    this.#pool.put(instance, available, this.#initialLoad)
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

  begin(id: string, startedAt: number): (outcome: Outcome) => void {
    const load = this.#pool.members.get(id)?.state
    if (load === undefined) return noCall
    load.begin()
    return (outcome) => load.end(Math.max(0, outcome.now - startedAt), outcome)
  }

  inspect(now: number): ReadonlyMap<string, Inspection> {
    return new Map(Array.from(this.#pool.members, ([id, { state }]) => [id, state.inspect(now)]))
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

  inspect(): Inspection {
    return { inFlight: this.#inFlight }
  }
}

/** Latencies below this count as equal, so that fast instances differ by calls in flight only. */
const minLatencyMillis = 1e-3

/**
 * The assumed latency of an instance with calls in flight but without a measurement: higher than any measured one. So
 * it gets no second call before the first has ended.
 */
const maxLatencyMillis = 1e9

class PeakEwma implements Load {
  readonly #decayMillis: number
  #inFlight = 0
  /** The latency at the time `#at`, `undefined` before the first measurement. */
  #latency: number | undefined
  #at = 0

  constructor(decayMillis: number) {
    this.#decayMillis = decayMillis
  }

  begin(): void {
    this.#inFlight++
  }

  end(latencyMillis: number, { now, ok }: Outcome): void {
    this.#inFlight--
    const latency = Math.min(latencyMillis, maxLatencyMillis)
    if (this.#latency === undefined || latency > this.#latency) this.#latency = latency
    // A fast failure must not lower the latency, because that would attract calls.
    else if (!ok) return
    else this.#latency = latency + (this.#latency - latency) * this.#weightAt(now)
    this.#at = Math.max(now, this.#at)
  }

  read(now: number, share: number): number {
    const latency = this.#latencyAt(now) ?? (this.#inFlight === 0 ? 0 : maxLatencyMillis)
    return Math.max(latency, minLatencyMillis) * (1 + this.#inFlight / share)
  }

  inspect(now: number): Inspection {
    const latency = this.#latencyAt(now)
    return { inFlight: this.#inFlight, ...(latency === undefined ? {} : { ewmaMillis: latency }) }
  }

  #latencyAt(now: number): number | undefined {
    return this.#latency === undefined ? undefined : this.#latency * this.#weightAt(now)
  }

  /** The weight that a measurement still has, from 1 down to 0. */
  #weightAt(now: number): number {
    return Math.exp(-Math.max(0, now - this.#at) / this.#decayMillis)
  }
}

/**
 * Of two random instances, the one with fewer calls in flight for its weight.
 *
 * **Example**
 *
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.leastRequests.pipe(Balancer.slowStart("30 seconds"))
 * assert.equal(strategy.name, "slowStart(leastRequests)")
 * ```
 *
 * @since 0.1.0
 * @category strategies
 */
export const leastRequests: Strategy = make(
  "leastRequests",
  <M>() => Result.succeed<Picker<M>>(new TwoChoices<M>(() => new InFlight()))
)

/**
 * Options of {@link peakEwma}.
 *
 * @since 0.1.0
 * @category models
 */
export interface PeakEwmaOptions {
  /** The time after which the weight of a measurement has dropped to 37 % (1/e). Default: 10 seconds. */
  readonly decay?: Duration.Input
}

/**
 * Of two random instances, the one with the lower latency times its calls in flight.
 *
 * **Details**
 *
 * The latency is a moving average that rises at once and falls slowly, as in Finagle ("Peak EWMA",
 * twitter.github.io/finagle, Clients). So a stalling instance loses its traffic with its first slow answer. As that
 * measurement decays, the instance gets calls again. A failure never lowers the latency, so an instance that fails fast
 * attracts no calls. Calls in flight are divided by the weight of the instance, and include the call that is about to
 * start.
 *
 * **Example**
 *
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.peakEwma({ decay: "5 seconds" }).pipe(Balancer.zoneAware({ zone: "eu-1a", minLocal: 3 }))
 * assert.equal(strategy.name, "zoneAware(peakEwma)")
 * ```
 *
 * @since 0.1.0
 * @category strategies
 */
export const peakEwma = ({ decay = "10 seconds" }: PeakEwmaOptions = {}): Strategy =>
  make("peakEwma", <M>() =>
    Result.map(
      checkOptions("Balancer.peakEwma", (check) => Duration.toMillis(check.duration("decay", decay))),
      (decayMillis): Picker<M> => new TwoChoices<M>(() => new PeakEwma(decayMillis))
    ))
