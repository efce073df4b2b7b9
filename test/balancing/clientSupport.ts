/**
 * What the tests of service clients share: a registry whose sets the test emits.
 *
 * @module
 */
import { Clock, Effect, HashMap, Layer, Stream } from "effect"
import { Registry, type ServiceInstance } from "../../mod.ts"
import type { EtcdError } from "../../src/etcd/mod.ts"
import { Latest } from "../../src/internal/Latest.ts"
import * as InstanceSet from "../../src/registry/model/InstanceSet.ts"
import { DiscoveryRefused } from "../../src/registry/discovery/Discovery.ts"
import { Freshness } from "../../src/etcd/Freshness.ts"

/** A service whose instances the test sets. */
export interface Fake {
  readonly layer: Layer.Layer<Registry.Registry>
  /** Emits the next set: ids, or instances. */
  readonly set: (
    ...instances: ReadonlyArray<string | Partial<ServiceInstance> & { readonly id: string }>
  ) => Effect.Effect<void>
  /** Discovery fails with this cause from now on. */
  readonly refuse: (cause: EtcdError.EtcdError) => Effect.Effect<void>
}

export const instanceOf = (given: string | Partial<ServiceInstance> & { readonly id: string }): ServiceInstance => {
  const members = typeof given === "string" ? { id: given } : given
  return { name: "orders", endpoints: [`http://${members.id}:80`], metadata: {}, weight: 1, status: "up", ...members }
}

/** A registry whose sets the test emits, as those of one watch. */
export const fake: Effect.Effect<Fake> = Effect.sync(() => {
  const sets = new Latest<InstanceSet.InstanceSet<unknown> | EtcdError.EtcdError>()
  const history = new InstanceSet.History()
  let byId = HashMap.empty<string, ServiceInstance>()
  let revision = 0n
  const none = Effect.die("not in this test")
  const registry: Registry.Registry = {
    register: () => none,
    // Every service gets the sets of the test.
    discover: <M>() =>
      Stream.mapEffect(
        sets.changes,
        (set) =>
          "revision" in set ?
            Effect.succeed(set as InstanceSet.InstanceSet<M>) :
            Effect.fail(new DiscoveryRefused({ prefix: "/services/orders/", cause: set }))
      ),
    discoverAll: () => Stream.fromEffect(none),
    getInstances: () => none,
    listServices: none
  }
  return {
    layer: Layer.succeed(Registry.Registry, registry),
    set: (...given) =>
      Effect.sync(() => {
        const next = HashMap.fromIterable(given.map(instanceOf).map((instance) => [instance.id, instance] as const))
        const ids = [...HashMap.keys(byId), ...HashMap.keys(next)]
        byId = next
        revision += 1n
        sets.set(InstanceSet.make({
          byId,
          revision,
          freshness: Freshness.Live(),
          rejected: HashMap.empty(),
          held: new Map(),
          history,
          sequence: history.append(ids)
        }))
      }),
    refuse: (cause) => Effect.sync(() => sets.set(cause))
  }
})

/** Milliseconds of the test's clock. */
export const now: Effect.Effect<number> = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)
