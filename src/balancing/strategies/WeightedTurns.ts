/**
 * Round robin in proportion to weights, evenly mixed.
 *
 * nginx's smooth weighted round robin gives each turn to the instance that lags most behind its share, and scans all
 * instances for each pick. Here the next turn goes to the instance with the earliest *deadline* among those whose turn
 * is *released*. With weight w, turn k is released at k/w and due at (k + 1)/w, in a virtual time that advances by 1/W
 * per pick (W: the sum of all weights). Every instance always stays within one call of its exact share, which nginx's
 * algorithm does not guarantee. A pick costs O(log n).
 *
 * R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980), contains the proof. J. Bennett, H.
 * Zhang, "WF²Q: Worst-case Fair Weighted Fair Queueing", INFOCOM 1996, contains the algorithm.
 *
 * @module
 */
import { Heap, type HeapItem } from "../../internal/Heap.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type { PickRequest } from "../Strategy.ts"
import { clampWeight, Weights } from "./Weights.ts"

interface Member<M> extends HeapItem {
  instance: ServiceInstance<M>
  weight: number
  /** When its next turn is released. */
  release: number
  /** When that turn is due. */
  due: number
  /** Breaks ties between equal deadlines. Drawn at the first pick after the instance was added. */
  rank: number
  /** The heap that holds it, `undefined` before that pick. */
  heap: Heap<Member<M>> | undefined
}

/** Virtual time restarts at 0 after this many picks, before rounding loses its steps. */
const maxPicksPerEpoch = 2 ** 30

/** Instances that take turns in proportion to their weights. */
export class WeightedTurns<M> {
  readonly #members = new Map<string, Member<M>>()
  readonly #joining = new Set<Member<M>>()
  readonly #released = new Heap<Member<M>>((self, that) =>
    self.due < that.due || self.due === that.due && self.rank < that.rank
  )
  readonly #waiting = new Heap<Member<M>>((self, that) => self.release < that.release)
  readonly #weights = new Weights()
  #time = 0
  #hasStarted = false

  put(instance: ServiceInstance<M>): void {
    const weight = clampWeight(instance.weight)
    const known = this.#members.get(instance.id)
    if (known === undefined) {
      const member = { instance, weight, release: this.#time, due: 0, rank: 0, heap: undefined, place: -1 }
      this.#members.set(instance.id, member)
      this.#joining.add(member)
      this.#weights.change(0, weight)
      return
    }
    known.instance = instance
    if (known.weight === weight) return
    known.heap?.remove(known)
    this.#weights.change(known.weight, weight)
    known.weight = weight
    // The next turn is at most one turn of the new weight away.
    known.release = Math.min(known.release, this.#time + 1 / weight)
    if (known.heap !== undefined) this.#enter(known, this.#waiting)
  }

  remove(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    this.#members.delete(id)
    this.#joining.delete(member)
    member.heap?.remove(member)
    this.#weights.change(member.weight, 0)
  }

  pick({ exclude, random }: PickRequest): ServiceInstance<M> | undefined {
    for (const member of this.#joining) {
      member.rank = random()
      this.#enter(member, this.#waiting)
    }
    this.#joining.clear()
    if (this.#time * this.#weights.total > maxPicksPerEpoch) this.#beginEpoch()
    if (!this.#hasStarted && this.#members.size > 0) {
      this.#hasStarted = true
      // A random start, so that clients that start together begin at different points of the schedule.
      for (let turns = Math.floor(random() * Math.min(2 * this.#members.size, 1000)); turns > 0; turns--) this.#turn()
    }
    return this.#turn(exclude)?.instance
  }

  /** How far away the next turn of each instance is, in virtual time. */
  waits(): ReadonlyMap<string, number> {
    return new Map(Array.from(this.#members, ([id, { release }]) => [id, release - this.#time]))
  }

  /** Takes the next turn. An excluded instance forfeits its turn, so it does not catch up later. */
  #turn(exclude?: (id: string) => boolean): Member<M> | undefined {
    const passed: Array<Member<M>> = []
    try {
      for (;;) {
        const next = this.#next()
        if (next === undefined) return undefined
        next.heap?.remove(next)
        passed.push(next)
        next.release += 1 / next.weight
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
      // Treat times that differ by rounding only as equal.
      if (first.release - this.#time > 1e-9 / first.weight) {
        if (this.#released.first !== undefined) break
        // No instance has a released turn: advance to the next release.
        this.#time = first.release
      }
      this.#waiting.remove(first)
      first.due = first.release + 1 / first.weight
      this.#enter(first, this.#released)
    }
    return this.#released.first
  }

  #enter(member: Member<M>, heap: Heap<Member<M>>): void {
    member.heap = heap
    heap.add(member)
  }

  /** Shifts all times by the same amount, which keeps the order in the heaps. */
  #beginEpoch(): void {
    for (const member of this.#members.values()) {
      member.release -= this.#time
      member.due -= this.#time
    }
    this.#time = 0
  }
}
