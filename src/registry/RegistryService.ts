/**
 * What a registry can do.
 *
 * @module
 */
import type { Effect, Scope, Stream } from "effect"
import type { DiscoverOptions, DiscoveryError, ListedService } from "./discovery/Discovery.ts"
import type { InstanceSet } from "./model/InstanceSet.ts"
import type { Service } from "./model/Service.ts"
import type { Registration } from "./registration/Registration.ts"
import type { InstanceOptions } from "./registration/RegisterOptions.ts"
import type { RegistrationError } from "./registration/RegistrationError.ts"

/** What a registry can do. */
export interface RegistryService {
  /** See `registerService`. */
  readonly register: <M>(
    service: Service<M>,
    options: InstanceOptions<M>
  ) => Effect.Effect<Registration<M>, RegistrationError, Scope.Scope>
  /** See `discover`. */
  readonly discover: <M>(
    service: Service<M>,
    options?: DiscoverOptions
  ) => Stream.Stream<InstanceSet<M>, DiscoveryError>
  /** See `getInstances`. */
  readonly getInstances: <M>(service: Service<M>) => Effect.Effect<InstanceSet<M>, DiscoveryError>
  /** See `listServices`. */
  readonly listServices: Effect.Effect<ReadonlyArray<ListedService>, DiscoveryError>
}
