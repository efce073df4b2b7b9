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
 * With `startup: "await"` it completes once the key is in etcd, so that a linearizable read returns it. It grants a
 * lease and puts the key in one Txn under the rule of `claim`. Then fibers keep the key in etcd until the scope closes:
 * one for the registration, one that watches the key, one for `health`, and one for the heartbeats of the process.
 * After any loss they register it again, with the backoff of `retry`.
 *
 * Fails with `InvalidOption` before anything is sent, with `InstanceIdTaken`, with `RegistrationRefused` if etcd refuses
 * or a finite `retry` ends, and with `StartupTimeout`. If it fails or is interrupted, no lease and no key remain.
 *
 * Closing the scope publishes `"draining"` and waits for `drain`, if that is above 0. Then it revokes the lease, which
 * deletes the key. If etcd does not answer within `releaseTimeout`, the release ends with a warning and the lease
 * expires. A killed process disappears when its lease expires. That can take about twice the TTL, because etcd extends
 * leases when its leader changes.
 *
 * **Gotchas**
 *
 * The registration ends with its scope, so the scope must be open for as long as the process serves. `Effect.scoped`
 * around `registerService` alone registers and releases at once. Put it around the whole program.
 *
 * @example A server that is registered for as long as it runs
 * ```ts
 * import { getInstances, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * // A real server ends with `yield* Effect.never` here.
 * const serve = Effect.gen(function* () {
 *   assert.deepEqual((yield* getInstances("orders")).endpoints, ["http://10.0.0.5:8080"])
 * })
 *
 * const main = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   yield* serve
 * }).pipe(Effect.scoped) // not around `registerService`
 *
 * await Effect.runPromise(main.pipe(Effect.provide(Registry.layerMemory())))
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
