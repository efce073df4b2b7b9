/**
 * Following the instances of a service.
 *
 * @since 0.1.0
 * @module
 */
import { Effect, Stream } from "effect"
import type { DiscoverOptions, DiscoveryError } from "./discovery/Discovery.ts"
import type { InstanceSet } from "./model/InstanceSet.ts"
import * as Service from "./model/Service.ts"
import { Registry } from "./Registry.ts"

/**
 * Emits the complete set of a service's instances, and a new one after each change.
 *
 * **Details**
 *
 * The first set is emitted after a linearizable read, even if it is empty. Each set is the state of etcd at one
 * revision. A slow consumer gets the newest set. While etcd is unreachable the last set stays: one element marks it
 * `Stale`, and one marks it `Live` again.
 *
 * All consumers of a service with the same options share one watch in etcd. One fiber runs it, another compares its
 * state with etcd every `reconcileEvery`. The watch closes a second after its last consumer has left. Nothing is
 * written, so nothing remains in etcd.
 *
 * Fails with `InvalidOption` before anything is sent. Fails with `DiscoveryRefused` if etcd refuses before the first
 * set (permission denied, authentication refused, an invalid request), and when a finite `retry` ends. A refusal after
 * the first set makes it `Stale` and is retried every few seconds. Everything else is retried with the backoff of
 * `retry`. A defect, such as one of the `retry` schedule, ends the stream with its cause.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const program = Effect.gen(function*() {
 *   yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.5:8080"] })
 *   yield* discover("orders").pipe(
 *     Stream.take(1),
 *     Stream.runForEach((set) => Effect.log(`${set.size} instances at revision ${set.revision}`))
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category discovery
 */
export const discover = <S extends Service.ServiceLike>(
  service: S,
  options?: DiscoverOptions
): Stream.Stream<InstanceSet<Service.MetadataOf<S>>, DiscoveryError, Registry> =>
  Stream.unwrap(Effect.map(Registry, (registry) => registry.discover(Service.fromLike(service), options)))
