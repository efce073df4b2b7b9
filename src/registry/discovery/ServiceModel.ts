/**
 * The set of one service: the view of its keys, plus the instances that mass-loss protection holds.
 *
 * @module
 */
import { Effect } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { Freshness } from "../../etcd/Freshness.ts"
import { mapAtOnce, mapInSlices } from "../../internal/time/slices.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import type { InstanceSet, Rejected } from "../model/InstanceSet.ts"
import type { Layout } from "../model/Layout.ts"
import type { Service } from "../model/Service.ts"
import type { ReadSettings } from "./DiscoverOptions.ts"
import type { Commit, KeysReport, Model, Prepared } from "./Model.ts"
import * as Protection from "./Protection.ts"
import { type Decoded, ServiceView } from "./ServiceView.ts"

/** See the module's description. */
export class ServiceModel<M> implements Model<InstanceSet<M>> {
  readonly #view: ServiceView<M>
  readonly #protect: Protection.MassLossProtection | undefined
  #protection: Protection.Protection<M> = Protection.initial
  /** The ids that changed since the last value. */
  #changed: Array<string> = []
  #newest: InstanceSet<M> | undefined

  constructor(
    service: Service<M>,
    layout: Layout,
    settings: ReadSettings,
    protect: Protection.MassLossProtection | undefined
  ) {
    this.#view = new ServiceView(service, layout, settings)
    this.#protect = protect
  }

  /** The last value. `undefined` before the first one. */
  get newest(): InstanceSet<M> | undefined {
    return this.#newest
  }

  /** Whether the service has no key and no held instance. */
  get isEmpty(): boolean {
    return this.#view.isEmpty && this.#protection.losses.size === 0
  }

  prepare(report: KeysReport): Prepared {
    const view = this.#view
    if (report._tag === "Changed") return this.#prepare(report.events, (event) => view.decode(event), ({ kv }) => kv)
    const missing = view.slots
    return this.#prepare(report.kvs, (kv) => view.decodeListed(kv, missing), (kv) => kv, missing)
  }

  /** `missing` are the slots of the keys that are gone, once all items are decoded. */
  #prepare<A>(
    items: ReadonlyArray<A>,
    decode: (item: A) => Decoded<M> | undefined,
    kvOf: (item: A) => KeyValue,
    missing: ReadonlySet<string> = new Set()
  ): Prepared {
    const sizeOf = (item: A) => kvOf(item).value.length
    const toCommit = (decoded: ReadonlyArray<Decoded<M> | undefined>): Commit => (now) =>
      this.#apply(decoded, missing, now)
    const decoded = mapAtOnce(items, decode, sizeOf)
    return decoded === undefined ? Effect.map(mapInSlices(items, decode, sizeOf), toCommit) : toCommit(decoded)
  }

  value(revision: bigint, freshness: Freshness): InstanceSet<M> {
    const changed = this.#changed
    this.#changed = []
    return this.#newest = this.#view.set(revision, freshness, changed, Protection.held(this.#protection))
  }

  release(now: number): boolean {
    const before = this.#changed.length
    this.#stepProtection(now, [])
    return this.#changed.length > before
  }

  nextRelease(): number | undefined {
    return Protection.nextExit(this.#protection)
  }

  differences(kvs: ReadonlyArray<KeyValue>): ReadonlySet<string> {
    return this.#view.differences(kvs)
  }

  #apply(
    decoded: ReadonlyArray<Decoded<M> | undefined>,
    gone: ReadonlySet<string>,
    now: number
  ): ReadonlyArray<Rejected> {
    const { ids, left, rejected } = this.#view.apply(decoded, gone)
    this.#changed = this.#changed.length === 0 ? [...ids] : this.#changed.concat(ids)
    this.#stepProtection(now, left)
    return rejected
  }

  #stepProtection(now: number, left: ReadonlyArray<ServiceInstance<M>>): void {
    if (this.#protect === undefined) return
    const before = Protection.held(this.#protection)
    this.#protection = Protection.step(this.#protect, this.#protection, {
      now,
      left,
      isPresent: (id) => this.#view.has(id),
      present: this.#view.size
    })
    // A spread call overflows the stack with some 100,000 arguments.
    for (const id of before.keys()) this.#changed.push(id)
    for (const id of Protection.held(this.#protection).keys()) this.#changed.push(id)
  }
}
