/**
 * Registering an instance of a service.
 *
 * @since 0.1.0
 * @module
 */
import { Effect, type Scope } from "effect"
import * as Service from "./model/Service.ts"
import type { RegisterOptions } from "./registration/RegisterOptions.ts"
import type { RegistrationError } from "./registration/RegistrationError.ts"
import type { Registration } from "./registration/Registration.ts"
import { Registry } from "./Registry.ts"

/**
 * Registers an instance of a service and keeps it registered until the scope closes.
 *
 * **Details**
 *
 * A lease is granted, the key is put in one Txn under the rule of `claim`, and supervised fibers (the registration's
 * own, one for the heartbeats, one that watches the key, one for `health`) keep it there and put it back after any loss,
 * with the backoff of `retry`. With `startup: "await"` it completes once the key is in etcd.
 *
 * Fails with `InvalidOption` before anything is sent, `InstanceIdTaken`, `RegistrationRefused` if etcd refuses or a
 * finite `retry` ends, and `StartupTimeout`. If it fails or is interrupted, no lease and no key remain.
 *
 * Closing the scope publishes `"draining"` and waits for `drain` (if it is above 0), then revokes the lease, which
 * deletes the key. If etcd does not answer within `releaseTimeout`, that is logged and the lease expires. A process that
 * is killed disappears when its lease expires: after up to about twice the TTL, since etcd extends leases when its
 * leader changes.
 *
 * **Gotchas**
 *
 * The registration ends with its scope. `Effect.scoped(registerService(…))` alone registers and deregisters at once: put
 * `Effect.scoped` around the whole program.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { getInstances, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const program = Effect.gen(function*() {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   const set = yield* getInstances("orders")
 *   return set.endpoints // ["http://10.0.0.5:8080"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category registration
 */
export const registerService = <S extends Service.ServiceLike>(
  service: S,
  options: RegisterOptions<Service.MetadataOf<S>>
): Effect.Effect<Registration<Service.MetadataOf<S>>, RegistrationError, Registry | Scope.Scope> =>
  Effect.flatMap(Registry, (registry) => registry.register(Service.fromLike(service), options))
