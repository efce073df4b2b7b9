/**
 * Reading the instances of a service once.
 *
 * @since 0.1.0
 * @module
 */
import { Effect } from "effect"
import type { DiscoveryError, ReadOptions } from "./discovery/Discovery.ts"
import type { InstanceSet } from "./model/InstanceSet.ts"
import * as Service from "./model/Service.ts"
import { Registry } from "./Registry.ts"

/**
 * Reads the current instances of a service: one linearizable read, paginated at one revision.
 *
 * **Details**
 *
 * Fails with `InvalidOption` before anything is sent, and with `DiscoveryRefused` if etcd does not answer or refuses. It
 * does not retry. `leaseless` and `maxValueBytes` decide which values are instances; the defaults are those of the
 * registry. No fiber starts and nothing is written.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.map(getInstances("orders"), (set) => set.size)
 *
 * assert.equal(await Effect.runPromise(Effect.provide(program, Registry.layerMemory())), 0)
 * ```
 *
 * @since 0.1.0
 * @category discovery
 */
export const getInstances = <S extends Service.ServiceLike>(
  service: S,
  options?: ReadOptions
): Effect.Effect<InstanceSet<Service.MetadataOf<S>>, DiscoveryError, Registry> =>
  Effect.flatMap(Registry, (registry) => registry.getInstances(Service.fromLike(service), options))
