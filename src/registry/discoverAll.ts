/**
 * Following every service of a namespace.
 *
 * @since 0.1.0
 * @module
 */
import { Effect, Stream } from "effect"
import type { Catalog, DiscoverOptions, DiscoveryError } from "./discovery/Discovery.ts"
import { Registry } from "./Registry.ts"

/**
 * Emits the instance sets of all services of the namespace, and a new catalog after each change.
 *
 * **When to use**
 *
 * For tools that show or check a whole namespace. A program that calls a few services reads less with `discover`.
 *
 * **Details**
 *
 * One watch serves all services, so a catalog is the state of the namespace at one revision. The set of a service that
 * did not change is the same object in the next catalog. Metadata is read as strings: a member that is not a string is
 * its JSON text. Only services in the default format are included.
 *
 * A slow consumer gets the newest catalog. Consumers with the same options share the watch. It is `Stale` and fails as
 * `discover` does.
 *
 * @example
 * ```ts
 * import { discoverAll, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   yield* registerService("payments", { endpoints: ["http://10.0.0.6:8080"] })
 *   yield* discoverAll().pipe(
 *     Stream.take(1),
 *     Stream.runForEach((catalog) => Effect.sync(() => assert.deepEqual(catalog.names, ["orders", "payments"])))
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category discovery
 */
export const discoverAll = (options?: DiscoverOptions): Stream.Stream<Catalog, DiscoveryError, Registry> =>
  Stream.unwrap(Effect.map(Registry, (registry) => registry.discoverAll(options)))
