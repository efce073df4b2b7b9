/**
 * In turn, in proportion to the weights, and as evenly mixed as can be.
 *
 * nginx's smooth weighted round robin gives each turn to the instance that lags most behind its share, and so looks at
 * all of them for each pick. Here a turn goes to the instance whose *deadline* is next, among those whose turn has been
 * *released*: with weight w, turn k is released at k/w and due at (k + 1)/w, in a time that passes by 1/W for each pick
 * (W: all weights). At every moment each instance is within one call of its exact share, which nginx's does not promise,
 * and a pick costs O(log n).
 *
 * R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980), has the proof; J. Bennett, H. Zhang,
 * "WF²Q: Worst-case Fair Weighted Fair Queueing", INFOCOM 1996, the algorithm.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, type Known, make, noCall, type PickRequest, type Strategy } from "../Strategy.ts"
import { Heap, type HeapItem } from "./Heap.ts"
import { Weights } from "./Weights.ts"

interface Member<M> extends HeapItem {
  instance: ServiceInstance<M>
  /** When its next turn is released. */
  release: number
  /** When that turn is due. */
  due: number
  /** Decides between equal deadlines; drawn with the first pick after it came. */
  rank: number
  /** Where it stands; `undefined` before that pick. */
  heap: Heap<Member<M>> | undefined
}

class WeightedRoundRobin<M> implements Chooser<M> {
  readonly #members = new Map<string, Member<M>>()
  readonly #joining = new Set<Member<M>>()
  readonly #released = new Heap<Member<M>>((self, that) =>
    self.due < that.due || self.due === that.due && self.rank < that.rank
  )
  readonly #waiting = new Heap<Member<M>>((self, that) => self.release < that.release)
  readonly #weights = new Weights()
  #time = 0
  #begun = false

  put(instance: ServiceInstance<M>, available: boolean): void {
    if (!available) return this.remove(instance.id)
    const known = this.#members.get(instance.id)
    const member = known ?? { instance, release: this.#time, due: 0, rank: 0, heap: undefined, place: -1 }
    if (known === undefined) {
      this.#members.set(instance.id, member)
      this.#joining.add(member)
    }
    const weightBefore = known?.instance.weight ?? 0
    if (weightBefore === instance.weight) {
      member.instance = instance
      return
    }
    member.heap?.remove(member)
    this.#weights.change(weightBefore, instance.weight)
    member.instance = instance
    // The wait for the next turn is never longer than a turn of the new weight.
    member.release = Math.min(member.release, this.#time + 1 / instance.weight)
    if (member.heap !== undefined) this.#enter(member, this.#waiting)
  }
  remove(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    this.#members.delete(id)
    this.#joining.delete(member)
    member.heap?.remove(member)
    this.#weights.change(member.instance.weight, 0)
  }
  pick({ exclude, random }: PickRequest): ServiceInstance<M> | undefined {
    for (const member of this.#joining) {
      member.rank = random()
      this.#enter(member, this.#waiting)
    }
    this.#joining.clear()
    if (!this.#begun && this.#members.size > 0) {
      this.#begun = true
      // Clients that start together do not all begin at the same point of the schedule.
      for (let turns = Math.floor(random() * Math.min(2 * this.#members.size, 1000)); turns > 0; turns--) this.#turn()
    }
    return this.#turn(exclude)?.instance
  }
  begin(): () => void {
    return noCall
  }
  inspect(): ReadonlyMap<string, Known> {
    return new Map(
      [...this.#joining, ...this.#waiting.items, ...this.#released.items].map((
        { instance, release }
      ) => [instance.id, { release: release - this.#time }])
    )
  }
  /** Gives the next turn. The turn of one that is excluded is lost: it has nothing to catch up with later. */
  #turn(exclude?: (id: string) => boolean): Member<M> | undefined {
    const passed: Array<Member<M>> = []
    try {
      for (;;) {
        const next = this.#next()
        if (next === undefined) return undefined
        next.heap?.remove(next)
        passed.push(next)
        next.release += 1 / next.instance.weight
        if (exclude?.(next.instance.id) === true) continue
        this.#time += 1 / this.#weights.total
        return next
      }
    } finally {
      for (const member of passed) this.#enter(member, this.#waiting)
    }
  }
  #next(): Member<M> | undefined {
    for (;;) {
      const first = this.#waiting.first
      if (first === undefined) break
      // Equal but for rounding is equal.
      if (first.release - this.#time > 1e-9 / first.instance.weight) {
        if (this.#released.first !== undefined) break
        // Those whose turn it would be are away: time moves on to the next release.
        this.#time = first.release
      }
      this.#waiting.remove(first)
      first.due = first.release + 1 / first.instance.weight
      this.#enter(first, this.#released)
    }
    return this.#released.first
  }
  #enter(member: Member<M>, heap: Heap<Member<M>>): void {
    member.heap = heap
    heap.add(member)
  }
}

/**
 * Each instance in turn, in proportion to its weight and evenly mixed: weights 5, 1, 1 give _a b a a c a a_. Without
 * changes of the set and exclusions, no instance is ever a whole call ahead of or behind its exact share.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.weightedRoundRobin))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const ids = yield* Effect.replicateEffect(Balancer.pick(balancer), 4)
 *   return Option.getOrThrow(Option.all(ids)).map(({ id }) => id).sort()
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.deepEqual(await Effect.runPromise(Effect.provide(program, registry)), ["large", "large", "large", "small"])
 * ```
 */
export const weightedRoundRobin: Strategy = make(
  "weightedRoundRobin",
  <M>() => Result.succeed<Chooser<M>>(new WeightedRoundRobin<M>())
)
