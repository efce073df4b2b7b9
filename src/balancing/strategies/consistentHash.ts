/**
 * The same key to the same instance, whoever asks.
 *
 * Each instance has points on a ring, in proportion to its weight, and a key belongs to the nearest one (Karger et al.,
 * "Consistent Hashing and Random Trees", STOC 1997). What points go by is the id, the weights and the options alone, so
 * all clients that see one set agree, and when an instance leaves only its own keys move.
 *
 * @module
 */
import { HashRing, PrimaryKey, Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, invalid, type Known, make, noCall, type PickRequest, type Strategy } from "../Strategy.ts"
import { hash } from "./hash.ts"
import { Weights } from "./Weights.ts"

/** The ring of {@link consistentHash}. */
export interface ConsistentHashOptions {
  /**
   * Points on the ring of an instance of average weight, a whole number from 1 to 4,096. Default: 256, which keeps the
   * share of each of 50 equal instances within about 20 % of the mean. All clients must use the same.
   */
  readonly points?: number
}

/** Keys that were tried for one pick, before all instances are looked at. */
const rehashes = 8

const text = (key: string, attempt: number): string =>
  hash(key, attempt).toString(36) + hash(key, ~attempt).toString(36)

class Node<M> {
  readonly instance: ServiceInstance<M>
  readonly #key: string

  constructor(instance: ServiceInstance<M>) {
    this.instance = instance
    this.#key = `${instance.id}#${text(instance.id, 0)}`
  }
  [PrimaryKey.symbol](): string {
    return this.#key
  }
}

class ConsistentHash<M> implements Chooser<M> {
  readonly #key: string | undefined
  readonly #points: number
  readonly #nodes = new Map<string, Node<M>>()
  #ring: HashRing.HashRing<Node<M>> = HashRing.make({ baseWeight: 1 })
  readonly #weights = new Weights()
  /** The weight that has `#points` points: a power of two, so that it seldom changes with the mean weight. */
  #unit = 1
  /** What changed since the last pick: the ring is sorted once for all of it. */
  readonly #added = new Set<string>()
  readonly #removed = new Map<string, Node<M>>()

  constructor(key: string | undefined, points: number) {
    this.#key = key
    this.#points = points
  }
  put(instance: ServiceInstance<M>, available: boolean): void {
    if (!available) return this.remove(instance.id)
    const known = this.#nodes.get(instance.id)
    this.#weights.change(known?.instance.weight ?? 0, instance.weight)
    this.#nodes.set(instance.id, new Node(instance))
    this.#added.add(instance.id)
    this.#removed.delete(instance.id)
  }
  remove(id: string): void {
    const node = this.#nodes.get(id)
    if (node === undefined) return
    this.#nodes.delete(id)
    this.#weights.change(node.instance.weight, 0)
    this.#added.delete(id)
    this.#removed.set(id, node)
  }
  pick({ exclude, key, random }: PickRequest): ServiceInstance<M> | undefined {
    this.#settle()
    if (this.#nodes.size === 0) return undefined
    const sought = key ?? this.#key ?? String(random())
    // A key whose instance is excluded goes by another hash, so that these keys spread over all the others.
    for (let attempt = 0; attempt < rehashes; attempt++) {
      const instance = HashRing.get(this.#ring, text(sought, attempt))?.instance
      if (instance !== undefined && exclude?.(instance.id) !== true) return instance
    }
    let best: { readonly instance: ServiceInstance<M>; readonly score: number } | undefined
    for (const { instance } of this.#nodes.values()) {
      const score = hash(`${sought}/${instance.id}`)
      if (exclude?.(instance.id) !== true && (best === undefined || score > best.score)) best = { instance, score }
    }
    return best?.instance
  }
  begin(): () => void {
    return noCall
  }
  inspect(): ReadonlyMap<string, Known> {
    this.#settle()
    return new Map(Array.from(this.#ring.nodes.values(), ([{ instance }, points]) => [instance.id, { points }]))
  }
  #settle(): void {
    if (this.#added.size === 0 && this.#removed.size === 0) return
    const unit = this.#nodes.size === 0 ? this.#unit : 2 ** Math.round(Math.log2(this.#weights.mean))
    // Each removal goes through the whole ring.
    const afresh = unit !== this.#unit || this.#removed.size > rehashes
    this.#unit = unit
    if (afresh) this.#ring = HashRing.make({ baseWeight: 1 })
    else for (const node of this.#removed.values()) HashRing.remove(this.#ring, node)
    const byPoints = new Map<number, Array<Node<M>>>()
    for (const id of afresh ? this.#nodes.keys() : this.#added) {
      const node = this.#nodes.get(id)
      if (node === undefined) continue
      const points = Math.max(1, Math.round(this.#points * node.instance.weight / unit))
      const group = byPoints.get(points)
      if (group === undefined) byPoints.set(points, [node])
      else group.push(node)
    }
    for (const [weight, nodes] of byPoints) HashRing.addMany(this.#ring, nodes, { weight })
    this.#added.clear()
    this.#removed.clear()
  }
}

/**
 * The instance that a key belongs to, by `PickRequest.key`. When one of n equal instances leaves, about 1/n of the keys
 * move, and when one is excluded its keys go to the others evenly, each always to the same.
 *
 * `key` is for calls that bring none; without either, each call goes to a random instance, in proportion to weights.
 *
 * A change of the set goes through the whole ring with the next pick: under a millisecond for 100 instances, some ten for
 * 1,000; for many more choose fewer `points`.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.consistentHash()))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const one = yield* Balancer.pick(balancer, { key: "customer-42" })
 *   assert.deepEqual(yield* Balancer.pick(balancer, { key: "customer-42" }), one)
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * await Effect.runPromise(Effect.provide(program, registry))
 * ```
 */
export const consistentHash = (key?: string, { points = 256 }: ConsistentHashOptions = {}): Strategy =>
  make(
    "consistentHash",
    <M>() =>
      key !== undefined && typeof key !== "string" ?
        invalid("consistentHash", "key", key, "it must be a string, or be left out") :
        Number.isInteger(points) && points >= 1 && points <= 4096 ?
        Result.succeed<Chooser<M>>(new ConsistentHash<M>(key, points)) :
        invalid("consistentHash", "points", points, "it must be a whole number from 1 to 4096")
  )
