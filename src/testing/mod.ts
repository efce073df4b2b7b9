/**
 * For tests of programs that register and discover: an etcd with injected faults.
 *
 * {@link FaultyEtcd} wraps any `Etcd`, usually the embedded engine, and injects faults of networks and servers. Tests that
 * need no etcd use `Registry.layerFixed`, a registry that never changes, and `Registry.layerFailing`, one that fails.
 *
 * **Example** (A program continues with the last known instances during an outage)
 *
 * ```ts
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { FaultyEtcd } from "@effect-etcd/discovery/testing"
 * import { Effect, Layer, Stream } from "effect"
 * import { TestClock } from "effect/testing"
 * import assert from "node:assert/strict"
 *
 * const backends: Array<string> = []
 * const application = discover("orders").pipe(
 *   Stream.runForEach((set) => Effect.sync(() => backends.push(`${set.freshness._tag} ${set.endpoints}`)))
 * )
 *
 * const test = Effect.gen(function* () {
 *   const faults = yield* FaultyEtcd.Faults
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   yield* Effect.forkScoped(application)
 *   yield* TestClock.adjust("1 second")
 *   yield* faults.outage
 *   yield* TestClock.adjust("5 seconds")
 *   yield* faults.clear
 *   yield* TestClock.adjust("5 seconds")
 *   assert.deepEqual(backends, [
 *     "Live http://10.0.0.5:8080",
 *     "Stale http://10.0.0.5:8080",
 *     "Live http://10.0.0.5:8080"
 *   ])
 * })
 *
 * await Effect.runPromise(test.pipe(
 *   Effect.scoped,
 *   Effect.provide(
 *     Registry.layer().pipe(Layer.provideMerge(FaultyEtcd.layer()), Layer.provide(EtcdMemory.layer()))
 *   ),
 *   Effect.provide(TestClock.layer())
 * ))
 * ```
 *
 * @module
 */
export * as FaultyEtcd from "./FaultyEtcd.ts"
