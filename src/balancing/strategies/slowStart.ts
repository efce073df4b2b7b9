/**
 * A growing share for new instances.
 *
 * @module
 */
import { Duration, Result } from "effect"
import { checkOptions } from "../../internal/options.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Inspection, make, type Outcome, type Picker, type PickRequest, type Strategy } from "../Strategy.ts"

/** The initial part of a new instance's share. With 0 it would never warm up. */
const initialShare = 0.1

/** How many new instances one pick declines before it accepts the next one. */
const maxDeclined = 4

class SlowStart<M> implements Picker<M> {
  readonly #windowMillis: number
  readonly #picker: Picker<M>
  readonly #available = new Set<string>()
  /** When each new instance became available. */
  readonly #since = new Map<string, number>()
  #firstUpdate: number | undefined

  constructor(windowMillis: number, picker: Picker<M>) {
    this.#windowMillis = windowMillis
    this.#picker = picker
  }

  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    this.#firstUpdate ??= now
    if (!available) this.#forget(instance.id)
    else if (!this.#available.has(instance.id)) {
      this.#available.add(instance.id)
      if (now !== this.#firstUpdate) this.#since.set(instance.id, now)
    }
    this.#picker.put(instance, available, now)
  }

  remove(id: string, now: number): void {
    this.#forget(id)
    this.#picker.remove(id, now)
  }

  pick(request: PickRequest): ServiceInstance<M> | undefined {
    const first = this.#picker.pick(request)
    if (first === undefined || this.#accepts(first, request)) return first
    const declined = new Set<string>([first.id])
    const others = { ...request, exclude: (id: string) => declined.has(id) || request.exclude?.(id) === true }
    let picked = first
    while (declined.size < maxDeclined) {
      const next = this.#picker.pick(others)
      if (next === undefined) break
      picked = next
      if (this.#accepts(next, request)) break
      declined.add(next.id)
    }
    return picked
  }

  begin(id: string, now: number): (outcome: Outcome) => void {
    return this.#picker.begin(id, now)
  }

  inspect(now: number): ReadonlyMap<string, Inspection> {
    return new Map(Array.from(this.#picker.inspect(now), ([id, inspection]) => [
      id,
      { ...inspection, slowStart: this.#shareOf(id, now) }
    ]))
  }

  #forget(id: string): void {
    this.#available.delete(id)
    this.#since.delete(id)
  }

  #accepts({ id }: ServiceInstance<M>, { now, random }: PickRequest): boolean {
    if (this.#since.size === 0) return true
    const share = this.#shareOf(id, now)
    if (share === 1) this.#since.delete(id)
    return share === 1 || random() < share
  }

  #shareOf(id: string, now: number): number {
    const since = this.#since.get(id)
    return since === undefined ? 1 : Math.min(1, Math.max(initialShare, (now - since) / this.#windowMillis))
  }
}

/**
 * Gives a new instance a growing part of its share for `window`, from a tenth to all of it.
 *
 * **When to use**
 *
 * Instances need time to fill caches, compile code or open pools.
 *
 * **Details**
 *
 * The window starts when the instance becomes available. The instances of the first set count as warm. If a pick
 * selects a new instance, it is declined at random and repeated, so `slowStart` fits any strategy. If most instances
 * are new, they get their full shares.
 *
 * **Example**
 *
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.roundRobin.pipe(Balancer.slowStart("30 seconds"))
 * assert.equal(strategy.name, "slowStart(roundRobin)")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const slowStart = (window: Duration.Input) => <M>(strategy: Strategy<M>): Strategy<M> =>
  make<M>(`slowStart(${strategy.name})`, <N extends M>() =>
    Result.gen(function* () {
      const checked = yield* checkOptions("Balancer.slowStart", (check) => check.duration("window", window))
      const picker = yield* strategy.make<N>()
      return new SlowStart<N>(Duration.toMillis(checked), picker)
    }))
