/**
 * Following the changes of a service's instances.
 *
 * @since 0.1.0
 * @module
 */
import { Stream } from "effect"
import { discover } from "./discover.ts"
import type { DiscoverOptions, DiscoveryError } from "./discovery/Discovery.ts"
import { type Change, diff, type InstanceSet } from "./model/InstanceSet.ts"
import type { MetadataOf, ServiceLike } from "./model/Service.ts"
import type { Registry } from "./Registry.ts"

/**
 * Emits each current instance of a service as `Added`, then each change of one.
 *
 * **Details**
 *
 * A change is `Added`, `Updated` or `Removed`. The changes are the differences between consecutive sets of {@link discover}. Applying them all gives the newest set.
 * A slow consumer gets at most one change for each instance that changed since its last element. Fails as `discover`
 * does.
 *
 * @example
 * ```ts
 * import { discoverChanges, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.5:8080"] })
 *   yield* discoverChanges("orders").pipe(
 *     Stream.take(1),
 *     Stream.runForEach(({ _tag, instance }) => Effect.sync(() => assert.deepEqual([_tag, instance.id], ["Added", "a"])))
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category discovery
 */
export const discoverChanges = <S extends ServiceLike>(
  service: S,
  options?: DiscoverOptions
): Stream.Stream<Change<MetadataOf<S>>, DiscoveryError, Registry> =>
  Stream.mapAccum(
    discover(service, options),
    (): InstanceSet<MetadataOf<S>> | undefined => undefined,
    (before, set): readonly [InstanceSet<MetadataOf<S>>, ReadonlyArray<Change<MetadataOf<S>>>] => [
      set,
      diff(before, set)
    ]
  )
