/**
 * Service registration and discovery on etcd v3, as Effect resources and Streams, for Deno, Bun and Node.
 *
 * A service registers itself for the lifetime of a scope. Consumers follow its instances as a stream of complete,
 * immutable sets:
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const main = Effect.gen(function*() {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   yield* discover("orders").pipe(
 *     Stream.takeUntil((set) => set.size > 0),
 *     Stream.runForEach((set) => Effect.log(`${set.endpoints} at revision ${set.revision}`))
 *   )
 * })
 *
 * // With etcd: Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] })
 * await Effect.runPromise(main.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @module
 */
export * as Backoff from "./src/etcd/Backoff.ts"
export { Freshness } from "./src/etcd/Freshness.ts"
export { InvalidOption } from "./src/internal/options.ts"
export { discover } from "./src/registry/discover.ts"
export { discoverAll } from "./src/registry/discoverAll.ts"
export { discoverChanges } from "./src/registry/discoverChanges.ts"
export {
  type Catalog,
  type DiscoverOptions,
  type DiscoveryError,
  DiscoveryRefused,
  type ReadOptions
} from "./src/registry/discovery/Discovery.ts"
export type { MassLossProtection } from "./src/registry/discovery/Protection.ts"
export { getInstances } from "./src/registry/getInstances.ts"
export * as InstanceSet from "./src/registry/InstanceSet.ts"
export { listServices } from "./src/registry/listServices.ts"
export { InstanceStatus, type Labels, type ServiceInstance } from "./src/registry/model/Instance.ts"
export * as Service from "./src/registry/model/Service.ts"
export { registerService } from "./src/registry/registerService.ts"
export type {
  ClaimPolicy,
  InstancePatch,
  RegisterOptions,
  RegistrationPolicy
} from "./src/registry/registration/RegisterOptions.ts"
export {
  InstanceIdTaken,
  type RegistrationError,
  RegistrationLost,
  RegistrationRefused,
  StartupTimeout
} from "./src/registry/registration/RegistrationError.ts"
export { type HealthState, type Registration, RegistrationStatus } from "./src/registry/registration/Registration.ts"
export * as Registry from "./src/registry/Registry.ts"
export { runMain } from "./src/registry/runMain.ts"
