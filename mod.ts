/**
 * Service registration and discovery on etcd v3, as Effect resources and Streams, for Deno, Bun and Node.
 *
 * A service registers itself for the lifetime of a scope, and consumers follow its instances as a stream of complete,
 * immutable sets:
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const main = Effect.gen(function*() {
 *   yield* registerService({ name: "orders", endpoints: ["http://10.0.0.5:8080"] })
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
 * @module
 */
export {
  Discovery,
  type Merged,
  type MergeSource,
  type SetsOf,
  type WeightedSets
} from "./src/registry/discovery/merge.ts"
export {
  type DiscoverOptions,
  type DiscoveryError,
  DiscoveryRefused,
  InvalidName,
  type ListedService
} from "./src/registry/discovery/Discovery.ts"
export { type DeclarationProblem, InvalidDeclaration } from "./src/declared/InvalidDeclaration.ts"
export { type Codec, InvalidInstance, type MetadataSchema } from "./src/registry/model/Codec.ts"
export { InstanceStatus, type ServiceInstance } from "./src/registry/model/Instance.ts"
export type { Layout } from "./src/registry/model/Layout.ts"
export { Freshness } from "./src/etcd/Freshness.ts"
export { type Change, type InstanceSet, type Rejected } from "./src/registry/model/InstanceSet.ts"
export { type DefineService, Service } from "./src/registry/model/Service.ts"
export * as Backoff from "./src/etcd/Backoff.ts"
export type { Protect } from "./src/registry/discovery/Protection.ts"
export type {
  Claim,
  InstanceOptions,
  InstancePatch,
  RegisterOptions,
  RegistrationPolicy
} from "./src/registry/registration/RegisterOptions.ts"
export {
  type Holder,
  InstanceIdTaken,
  InvalidRegistration,
  type RegistrationError,
  RegistrationLost,
  RegistrationRefused,
  StartupTimeout
} from "./src/registry/registration/RegistrationError.ts"
export { type Registration, RegistrationStatus } from "./src/registry/registration/Registration.ts"
export {
  type DeclarationOptions,
  type DeclarationSource,
  discover,
  discoverChanges,
  type FixedInstance,
  getInstances,
  listServices,
  type ListServicesOptions,
  registerFromConfig,
  registerService,
  Registry,
  type RegistryOptions,
  type RegistryService
} from "./src/registry/Registry.ts"
export { runMain } from "./src/registry/runMain.ts"
