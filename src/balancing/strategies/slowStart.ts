/**
 * A gentle beginning for new instances.
 *
 * @module
 */
import { Duration, Option, Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, invalid, type Known, make, type Outcome, type PickRequest, type Strategy } from "../Strategy.ts"

/** Of its share, what a new instance gets at first: with nothing it would never warm up. */
const leastShare = 0.1

/** How often a pick is made anew because it fell on a new instance. */
const tries = 4

class SlowStart<M> implements Chooser<M> {
  readonly #window: number
  readonly #chooser: Chooser<M>
  readonly #available = new Set<string>()
  /** Since when the new ones are available. */
  readonly #since = new Map<string, number>()
  #first: number | undefined

  constructor(window: number, chooser: Chooser<M>) {
    this.#window = window
    this.#chooser = chooser
  }
  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    this.#first ??= now
    if (!available) this.#forget(instance.id)
    else if (!this.#available.has(instance.id)) {
      this.#available.add(instance.id)
      if (now !== this.#first) this.#since.set(instance.id, now)
    }
    this.#chooser.put(instance, available, now)
  }
  remove(id: string, now: number): void {
    this.#forget(id)
    this.#chooser.remove(id, now)
  }
  pick(request: PickRequest): ServiceInstance<M> | undefined {
    const first = this.#chooser.pick(request)
    if (first === undefined || this.#takes(first, request)) return first
    const declined = new Set<string>([first.id])
    const others = { ...request, exclude: (id: string) => declined.has(id) || request.exclude?.(id) === true }
    let chosen = first
    while (declined.size < tries) {
      const next = this.#chooser.pick(others)
      if (next === undefined) break
      chosen = next
      if (this.#takes(next, request)) break
      declined.add(next.id)
    }
    return chosen
  }
  begin(id: string, now: number): (outcome: Outcome) => void {
    return this.#chooser.begin(id, now)
  }
  inspect(now: number): ReadonlyMap<string, Known> {
    return new Map(Array.from(this.#chooser.inspect(now), ([id, known]) => [
      id,
      { ...known, slowStart: this.#shareOf(id, now) }
    ]))
  }
  #forget(id: string): void {
    this.#available.delete(id)
    this.#since.delete(id)
  }
  #takes({ id }: ServiceInstance<M>, { now, random }: PickRequest): boolean {
    if (this.#since.size === 0) return true
    const share = this.#shareOf(id, now)
    if (share === 1) this.#since.delete(id)
    return share === 1 || random() < share
  }
  #shareOf(id: string, now: number): number {
    const since = this.#since.get(id)
    return since === undefined ? 1 : Math.min(1, Math.max(leastShare, (now - since) / this.#window))
  }
}

/**
 * For `window` after an instance became available, it gets a part of its share only, from a tenth growing evenly to all
 * of it: caches fill, code is compiled, pools open. The instances of the first set count as warm.
 *
 * Picks that fall on a new instance are declined by chance and made anew, so it fits any strategy. While most instances
 * are new there is nobody to take their load, and they get it.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.roundRobin.pipe(Balancer.slowStart("30 seconds"))
 * assert.equal(strategy.name, "slowStart(roundRobin)")
 * ```
 */
export const slowStart = (window: Duration.Input) => <M>(strategy: Strategy<M>): Strategy<M> =>
  make<M>(`slowStart(${strategy.name})`, <N extends M>() => {
    const millis = Option.match(Duration.fromInput(window), { onNone: () => Number.NaN, onSome: Duration.toMillis })
    return millis > 0 && millis < Infinity ?
      Result.map(strategy.make<N>(), (chooser): Chooser<N> => new SlowStart<N>(millis, chooser)) :
      invalid("slowStart", "window", window, "it must be a finite duration above 0")
  })
