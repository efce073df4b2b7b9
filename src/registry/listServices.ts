/**
 * Listing the services of a namespace.
 *
 * @since 0.1.0
 * @module
 */
import { Effect } from "effect"
import type { DiscoveryError } from "./discovery/Discovery.ts"
import { Registry } from "./Registry.ts"

/**
 * Lists the services that have instances, ordered by name.
 *
 * **Details**
 *
 * It is one linearizable read of the keys of the namespace.  * `prefix` selects the services whose names start with it; the default is all. `instances` counts the keys that have a
 * lease, whether or not their values decode. Fails with `DiscoveryRefused` if etcd does not answer or refuses. It does
 * not retry. No fiber starts and nothing is written.
 *
 * @example
 * ```ts
 * import { listServices, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   assert.deepEqual(yield* listServices(), [{ name: "orders", instances: 1 }])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category discovery
 */
export const listServices = (
  { prefix = "" }: { readonly prefix?: string } = {}
): Effect.Effect<
  ReadonlyArray<{ readonly name: string; readonly instances: number }>,
  DiscoveryError,
  Registry
> =>
  Effect.flatMap(
    Registry,
    ({ listServices }) => Effect.map(listServices, (all) => all.filter(({ name }) => name.startsWith(prefix)))
  )
