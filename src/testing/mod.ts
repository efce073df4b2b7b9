/**
 * For tests of applications that register and discover: an etcd that fails as it is told.
 *
 * {@link FaultyEtcd} wraps any `Etcd`, most often the embedded engine, and injects what networks and servers do to it.
 * For tests that need no etcd at all, `Registry.layerFixed` is a registry that never changes and `Registry.layerFailing` one that
 * fails.
 *
 * @example An application's own test: it must go on with the last known instances while etcd is away
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
