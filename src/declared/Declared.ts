/**
 * Registrations and discoveries that a file declares, in YAML, TOML or JSON.
 *
 * @since 0.1.0
 * @module
 */
import { Deferred, Effect, Exit, Layer, Scope, Stream } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { InvalidOption } from "../internal/options.ts"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"
import type { RegistrationError } from "../registry/registration/RegistrationError.ts"
import type { Registration } from "../registry/registration/Registration.ts"
import * as Registry from "../registry/Registry.ts"
import type { Declaration, Options, Source } from "./Declaration.ts"
import type { InvalidDeclaration } from "./InvalidDeclaration.ts"
import { logError, logWarning } from "../internal/log.ts"

export type { Options, Source } from "./Declaration.ts"
export { type DeclarationProblem, InvalidDeclaration } from "./InvalidDeclaration.ts"

/** Reads a declaration. Loads the parsers on first use. */
const readDeclaration = (
  source: Source,
  options: Options,
  needsEtcd: boolean
): Effect.Effect<Declaration, InvalidDeclaration> =>
  Effect.flatMap(
    Effect.promise(() => import("./read.ts")),
    ({ readDeclaration }) => readDeclaration(source, options, needsEtcd)
  )

/** Registers and follows everything that is declared, or nothing, in a scope below the caller's. */
const declare = Effect.fnUntraced(function* (
  registry: Registry.Registry,
  { discover, services, warnings }: Declaration
): Effect.fn.Return<ReadonlyArray<Registration>, RegistrationError | DiscoveryError, Scope.Scope> {
  for (const warning of warnings) yield* logWarning(warning)
  // Close in parallel: draining several takes no longer than draining one.
  const scope = yield* Scope.fork(yield* Effect.scope, "parallel")
  const registering = Effect.forEach(
    services,
    Effect.fnUntraced(function* ({ options, service }) {
      const registration = yield* registry.register(service, options)
      yield* registration.awaitFailure.pipe(
        Effect.catch((error) => logError(error.message)),
        Effect.forkScoped
      )
      return registration
    }),
    { concurrency: "unbounded" }
  )
  const following = Effect.forEach(
    discover,
    Effect.fnUntraced(function* (service) {
      const first = yield* Deferred.make<void, DiscoveryError>()
      yield* registry.discover(service).pipe(
        Stream.runForEach(() => Deferred.succeed(first, undefined)),
        // A failure before the first set fails the caller. Later failures are logged only.
        Effect.catch((error) =>
          Effect.flatMap(
            Deferred.fail(first, error),
            (isFirst) => isFirst ? Effect.void : logError(error.message)
          )
        ),
        Effect.forkScoped
      )
      yield* Deferred.await(first)
    }),
    { concurrency: "unbounded", discard: true }
  )
  // Register first: the first set of a process that discovers itself then contains it.
  return yield* Effect.tap(registering, following).pipe(
    Scope.provide(scope),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
  )
})

/**
 * Registers the services that a file declares and follows those that it discovers, for a scope.
 *
 * **Details**
 *
 * The file is YAML, TOML or JSON by its name:
 *
 * ```yaml
 * etcd: # only for Declared.layer
 *   endpoints: ["${ETCD_ENDPOINTS:-http://127.0.0.1:2379}"]
 *   username: orders
 *   password: ${ETCD_PASSWORD}
 * services:
 *   - name: orders
 *     endpoints: [http://0.0.0.0:8080]
 *     metadata: { commit: "${COMMIT:-none}" }
 *     ttl: 15 seconds
 * discover: [payments]
 * ```
 *
 * A service accepts the options of `registerService` that are data. `${NAME}` and `${NAME:-default}` are environment
 * variables. A wildcard host (`0.0.0.0`, `[::]` or none) becomes the advertised address.
 *
 * Files of go-zero work as well, at any level: `Etcd` beside `ListenOn` is registered; any other `Etcd` and `Target:
 * etcd://…` are discovered. Settings of an `Etcd` that go-zero does not define are logged as warnings.
 *
 * Uses the registry of the context. `etcd` and `namespace` of the file are checked, but only {@link layer} uses them.
 * Completes with the registrations, in the order of the file, once every instance is in etcd and the first set of each
 * followed service is known. A followed service keeps its watch until the scope closes. A registration that fails later
 * is logged. Fails as {@link layer} does; then nothing remains registered.
 *
 * **Example**
 *
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Declared } from "@effect-etcd/discovery/declared"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const text = `
 * services:
 *   - name: orders
 *     endpoints: [http://0.0.0.0:8080]
 * `
 * const program = Effect.gen(function* () {
 *   yield* Declared.register({ text, format: "yaml" }, { advertise: "10.0.0.5" })
 *   assert.deepEqual((yield* getInstances("orders")).endpoints, ["http://10.0.0.5:8080"])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category registration
 */
export const register = (
  source: Source,
  options: Options = {}
): Effect.Effect<
  ReadonlyArray<Registration>,
  InvalidDeclaration | RegistrationError | DiscoveryError,
  Registry.Registry | Scope.Scope
> =>
  Effect.gen(function* () {
    const registry = yield* Registry.Registry
    return yield* declare(registry, yield* readDeclaration(source, options, false))
  })

/**
 * A registry on the etcd that a file names, with the file's registrations and discoveries.
 *
 * **Details**
 *
 * The file is YAML, TOML or JSON, in this package's shape or in that of go-zero; see {@link register}. Its `etcd` has
 * the options of `Registry.layerEtcd`. Its `namespace` is the prefix of all keys. The layer is ready once every
 * instance is in etcd and the first set of each followed service is known, so `discover` emits at once.
 *
 * Fails with `InvalidDeclaration`, which lists all problems of the file, before anything is sent. Also fails as
 * `registerService` and `discover` do, and then revokes everything that it registered. Under Deno it needs to read the
 * file (`--allow-read`) and the variables in it (`--allow-env`). For an endpoint such as `0.0.0.0` without
 * `ADVERTISE_ADDRESS` and `POD_IP` it needs to list the network interfaces (`--allow-sys`).
 *
 * **Example**
 *
 * ```ts ignore
 * import { runMain } from "@effect-etcd/discovery"
 * import { Declared } from "@effect-etcd/discovery/declared"
 * import { Layer } from "effect"
 *
 * runMain(Layer.launch(Declared.layer("service.yaml")))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  source: Source,
  { advertise, env, health, ...registryOptions }: Registry.Options & Options = {}
): Layer.Layer<
  Registry.Registry,
  InvalidDeclaration | InvalidOption | EtcdError | RegistrationError | DiscoveryError
> =>
  Layer.unwrap(Effect.gen(function* () {
    const declaration = yield* readDeclaration(source, { advertise, env, health }, true)
    const { etcd = { endpoints: [] }, namespace } = declaration
    const registry = Registry.layerEtcd({
      ...etcd,
      ...registryOptions,
      ...(namespace === undefined ? {} : { namespace })
    })
    const declared = Effect.flatMap(Registry.Registry, (registry) => declare(registry, declaration))
    return Layer.provideMerge(Layer.effectDiscard(declared), registry)
  }))
