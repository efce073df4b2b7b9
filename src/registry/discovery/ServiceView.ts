/**
 * The keys of one service in etcd: each is an instance or rejected.
 *
 * A change takes two steps. `decode` runs the service's codec and layout, which are user code, and changes nothing.
 * `apply` runs no user code, so the view never holds half of a change.
 *
 * @module
 */
import { HashMap, Option, Result } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { WatchEvent } from "../../etcd/messages/watch.ts"
import type { Freshness } from "../../etcd/Freshness.ts"
import { withoutStack } from "../../internal/withoutStack.ts"
import * as Codec from "../model/Codec.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import * as InstanceSet from "../model/InstanceSet.ts"
import { keyText, type Layout } from "../model/Layout.ts"
import type { Service } from "../model/Service.ts"
import type { ReadSettings } from "./DiscoverOptions.ts"
import { SharedInstances } from "./SharedInstances.ts"

/** A key after `decode`. */
export interface Decoded<M> {
  /** The id in the key. For a key without a valid id, a text that is not a valid id. */
  readonly slot: string
  /** Missing if the key is gone. */
  readonly known?: Known
  readonly instance?: ServiceInstance<M>
  readonly rejected?: InstanceSet.Rejected
}

/** The effect of a change. */
export interface Delta<M> {
  /** The ids of the instances that differ. */
  readonly ids: ReadonlyArray<string>
  /** The instances that left. */
  readonly left: ReadonlyArray<ServiceInstance<M>>
  /** The rejected values. */
  readonly rejected: ReadonlyArray<InstanceSet.Rejected>
}

/** The revisions and the lease of a key. */
interface Known {
  readonly createRevision: bigint
  readonly modRevision: bigint
  readonly lease: bigint
}

/** The keys of one service. */
export class ServiceView<M> {
  readonly #service: Service<M>
  readonly #layout: Layout
  readonly #settings: ReadSettings
  readonly #history = new InstanceSet.History()
  readonly #known = new Map<string, Known>()
  readonly #shared: SharedInstances | undefined
  #instances: HashMap.HashMap<string, ServiceInstance<M>> = HashMap.empty()
  #rejected: HashMap.HashMap<string, InstanceSet.Rejected> = HashMap.empty()

  constructor(service: Service<M>, layout: Layout, settings: ReadSettings) {
    this.#service = service
    this.#layout = layout
    this.#settings = settings
    this.#shared = layout.idFromValue === true ? new SharedInstances() : undefined
  }

  get size(): number {
    return HashMap.size(this.#instances)
  }
  /** Whether the service has no key. */
  get isEmpty(): boolean {
    return this.#known.size === 0
  }
  has(id: string): boolean {
    return HashMap.has(this.#instances, id)
  }

  /** The slots of all keys. */
  get slots(): Set<string> {
    return new Set(this.#known.keys())
  }

  /** The keys whose revisions differ from a list without values. Such a list carries no leases on etcd 3.7. */
  differences(kvs: ReadonlyArray<KeyValue>): ReadonlySet<string> {
    const differing = new Set(this.#known.keys())
    for (const kv of kvs) {
      const slot = this.#slotOf(kv.key)
      const known = this.#known.get(slot)
      if (known !== undefined && isSameRevision(known, kv)) differing.delete(slot)
      else differing.add(slot)
    }
    return differing
  }

  /** Decodes a key that has changed. Changes nothing. */
  decode({ kv, type }: WatchEvent): Decoded<M> {
    const slot = this.#slotOf(kv.key)
    return type === "put" ? this.#decodeValue(slot, kv) : { slot }
  }

  /** Decodes a key of a list, and removes it from `missing`. `undefined` if it has not changed. Changes nothing else. */
  decodeListed(kv: KeyValue, missing: Set<string>): Decoded<M> | undefined {
    const slot = this.#slotOf(kv.key)
    missing.delete(slot)
    const known = this.#known.get(slot)
    const isSame = known !== undefined && isSameRevision(known, kv) && known.lease === kv.lease
    return isSame ? undefined : this.#decodeValue(slot, kv)
  }

  #decodeValue(slot: string, kv: KeyValue): Decoded<M> {
    const { createRevision, lease, modRevision } = kv
    const known = { createRevision, modRevision, lease }
    // The stack of a rejection would keep the whole response of etcd in memory.
    const decoded = withoutStack(() => this.#instanceOf(slot, kv))
    return Result.isSuccess(decoded) ?
      { slot, known, instance: decoded.success } :
      { slot, known, rejected: { key: keyText(kv.key), error: decoded.failure } }
  }

  /** Applies decoded keys in order, then the slots of the keys that are gone. */
  apply(decoded: ReadonlyArray<Decoded<M> | undefined>, gone: Iterable<string>): Delta<M> {
    const ids: Array<string> = []
    const left: Array<ServiceInstance<M>> = []
    const rejections: Array<InstanceSet.Rejected> = []
    this.#instances = HashMap.mutate(this.#instances, (instances) => {
      const applyKey = ({ instance, known, rejected, slot }: Decoded<M>) => {
        if (known === undefined) this.#known.delete(slot)
        else this.#known.set(slot, known)
        const to = instance === undefined ? undefined : this.#shared === undefined ? slot : instance.id
        const vacated = this.#shared === undefined ? slot : this.#shared.move(slot, to)
        if (vacated !== undefined && vacated !== to) {
          const before = HashMap.get(instances, vacated)
          if (Option.isSome(before)) {
            HashMap.remove(instances, vacated)
            left.push(before.value)
            ids.push(vacated)
          }
        }
        // Of several keys that hold one instance, the first counts.
        if (
          instance !== undefined && to !== undefined && (this.#shared === undefined || !HashMap.has(instances, to))
        ) {
          HashMap.set(instances, to, instance)
          ids.push(to)
        }
        if (rejected !== undefined) {
          this.#rejected = HashMap.set(this.#rejected, slot, rejected)
          rejections.push(rejected)
        } else if (!HashMap.isEmpty(this.#rejected)) {
          this.#rejected = HashMap.remove(this.#rejected, slot)
        }
      }
      for (const key of decoded) if (key !== undefined) applyKey(key)
      for (const slot of gone) applyKey({ slot })
    })
    return { ids, left, rejected: rejections }
  }

  /** The current set; `changed` are the ids in which it differs from the previous one. */
  set(
    revision: bigint,
    freshness: Freshness,
    changed: ReadonlyArray<string>,
    held: ReadonlyMap<string, ServiceInstance<M>>
  ): InstanceSet.InstanceSet<M> {
    return InstanceSet.make({
      byId: held.size === 0 ? this.#instances : HashMap.setMany(this.#instances, held),
      revision,
      freshness,
      rejected: this.#rejected,
      held,
      history: this.#history,
      sequence: this.#history.append(changed)
    })
  }

  #slotOf(key: Uint8Array): string {
    return this.#idOf(key) ?? `\u0000${keyText(key)}`
  }

  #idOf(key: Uint8Array): string | undefined {
    try {
      return this.#layout.idOf(this.#service.name, key)
    } catch {
      return undefined
    }
  }

  #instanceOf(slot: string, kv: KeyValue): Result.Result<ServiceInstance<M>, Codec.InvalidInstance> {
    const { leaseless, maxValueBytes } = this.#settings
    if (kv.lease === 0n && leaseless === "reject" && this.#layout.isLeaseOptional !== true) {
      return reject(`the key has no lease, so nothing would remove it; use leaseless: "accept" for static instances`)
    }
    if (slot.startsWith("\u0000")) return reject("the key contains no valid instance id")
    if (kv.value.length > maxValueBytes) {
      return reject(`the value has ${kv.value.length} bytes, more than maxValueBytes (${maxValueBytes})`)
    }
    return Codec.decode(this.#service.codec, this.#service.name, slot, kv.value)
  }
}

const isSameRevision = (known: Known, kv: KeyValue): boolean =>
  known.modRevision === kv.modRevision && known.createRevision === kv.createRevision

const reject = (detail: string): Result.Result<never, Codec.InvalidInstance> =>
  Result.fail(new Codec.InvalidInstance({ detail }))
