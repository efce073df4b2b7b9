/**
 * The registry: what registers and discovers, on an etcd.
 *
 * `Registry` is a service; its layers say where the instances are kept. The functions of this module, such as
 * {@link registerService} and {@link discover}, are all that most programs need.
 *
 * @module
 */
import { Config, Context, Deferred, Effect, Exit, Layer, Result, type Schedule, Scope, Stream } from "effect"
import type { Declaration, DeclarationOptions, DeclarationSource } from "../declared/Declaration.ts"
import type { InvalidDeclaration } from "../declared/InvalidDeclaration.ts"
import * as Discovery from "./discovery/Discovery.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import * as EtcdGrpc from "../etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../etcd/memory/EtcdMemory.ts"
import { traced } from "../internal/traced.ts"
import { type Change, diff, type InstanceSet } from "./model/InstanceSet.ts"
import * as Keyspace from "./model/Keyspace.ts"
import { Service } from "./model/Service.ts"
import {
  type InstanceOptions,
  plan,
  type RegisterOptions,
  type RegistrationPolicy
} from "./registration/RegisterOptions.ts"
import type { RegistrationError, RegistrationLost } from "./registration/RegistrationError.ts"
import * as Registration from "./registration/Registration.ts"
import * as Doubles from "./testRegistries.ts"
import type { RegistryService } from "./RegistryService.ts"

export type { DeclarationOptions, DeclarationSource } from "../declared/Declaration.ts"
export type { FixedInstance } from "./testRegistries.ts"
export type { RegistryService } from "./RegistryService.ts"

/** Where instances are kept, and the defaults of every registration and discovery. */
export interface RegistryOptions extends RegistrationPolicy, Omit<Discovery.DiscoverOptions, "retry"> {
  /** What all keys start with. Default: `/services`. */
  readonly namespace?: string
  /** When to try again, registering and discovering. Default: `Backoff.reregister`. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
}

const make = Effect.fnUntraced(function* (
  options: RegistryOptions,
  client: "own" | "shared"
): Effect.fn.Return<RegistryService, Discovery.InvalidName, Etcd | Scope.Scope> {
  const { namespace = Keyspace.defaultNamespace, ...defaults } = options
  const keyspace = yield* Effect.fromResult(
    Result.mapError(
      Keyspace.make(namespace),
      (rule) => new Discovery.InvalidName({ field: "namespace", value: namespace, rule })
    )
  )
  const settings = yield* Effect.fromResult(Discovery.settingsOf(defaults))
  const etcd = yield* Etcd
  const scope = yield* Effect.scope
  const discovery = yield* Discovery.make(etcd, keyspace)
  const registrar = yield* Registration.makeRegistrar(
    etcd,
    settings,
    client === "shared" ?
      Effect.flatMap(Effect.scope, (scope) => Scope.fork(scope)) :
      Effect.acquireRelease(Scope.fork(scope), (own, exit) => Scope.close(own, exit))
  )
  return {
    register: (service, options) =>
      plan(keyspace, service, { ...defaults, ...options }).pipe(
        Effect.flatMap((plan) => Registration.make(registrar, plan)),
        traced("registerService", { attributes: { service: service.name } })
      ),
    discover: (service, options) => discovery.discover(service, { ...defaults, ...options }),
    getInstances: (service) =>
      discovery.getInstances(service).pipe(
        Effect.withSpan("getInstances", { attributes: { service: service.name } })
      ),
    listServices: discovery.listServices.pipe(Effect.withSpan("listServices"))
  }
})

/** Reads a declaration; what it takes to do so is loaded by the first who does. */
const readDeclaration = (
  source: DeclarationSource,
  options: DeclarationOptions,
  needsEtcd: boolean
): Effect.Effect<Declaration, InvalidDeclaration> =>
  Effect.flatMap(
    Effect.promise(() => import("../declared/read.ts")),
    ({ readDeclaration }) => readDeclaration(source, options, needsEtcd)
  )

/** Registers and follows what is declared, all of it or nothing, in a scope of its own within the caller's. */
const declare = Effect.fnUntraced(function* (
  registry: RegistryService,
  { discover, services }: Declaration
): Effect.fn.Return<
  ReadonlyArray<Registration.Registration>,
  RegistrationError | Discovery.DiscoveryError,
  Scope.Scope
> {
  // Side by side, so that several that drain take no longer than one.
  const scope = yield* Scope.fork(yield* Effect.scope, "parallel")
  const registering = Effect.forEach(
    services,
    Effect.fnUntraced(function* ({ options, service }) {
      const registration = yield* registry.register(service, options)
      yield* registration.awaitFailure.pipe(
        Effect.catch((error) => Effect.logError(error.message)),
        Effect.forkScoped
      )
      return registration
    }),
    { concurrency: "unbounded" }
  )
  const following = Effect.forEach(
    discover,
    Effect.fnUntraced(function* (service) {
      const first = yield* Deferred.make<void, Discovery.DiscoveryError>()
      yield* registry.discover(service).pipe(
        Stream.runForEach(() => Deferred.succeed(first, undefined)),
        // The first set is waited for; later nobody else would tell.
        Effect.catch((error) =>
          Effect.flatMap(
            Deferred.fail(first, error),
            (isFirst) => isFirst ? Effect.void : Effect.logError(error.message)
          )
        ),
        Effect.forkScoped
      )
      yield* Deferred.await(first)
    }),
    { concurrency: "unbounded", discard: true }
  )
  // In this order, so that a process that discovers itself is in its first set.
  return yield* Effect.tap(registering, following).pipe(
    Scope.provide(scope),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
  )
})

const defaultKeyspace = Result.getOrThrow(Keyspace.make(Keyspace.defaultNamespace))

const Base: Context.ServiceClass<Registry, "@effect-etcd/discovery/Registry", RegistryService> = Context.Service<
  Registry,
  RegistryService
>()("@effect-etcd/discovery/Registry")

/**
 * The registry service and its layers.
 *
 * Building a layer sends nothing: etcd may be down. Closing its scope ends what is discovered through it, and, where the
 * client is its own (`layerEtcd`, `layerMemory`, `layerConfig`), what is still registered.
 */
export class Registry extends Base {
  /** A registry over the {@link Etcd} of the context. Fails with `InvalidName` when an option cannot be. */
  static readonly layer = (options: RegistryOptions = {}): Layer.Layer<Registry, Discovery.InvalidName, Etcd> =>
    Layer.effect(Registry, make(options, "shared"))

  /** A registry over etcd servers. Fails, too, with an `EtcdError` when an option of the client cannot be. */
  static readonly layerEtcd = (
    options: EtcdGrpc.EtcdGrpcOptions & RegistryOptions
  ): Layer.Layer<Registry, Discovery.InvalidName | EtcdError> =>
    Layer.effect(Registry, make(options, "own")).pipe(Layer.provide(EtcdGrpc.layer(options)))

  /**
   * A registry in this process, for tests and first steps: nothing is shared with other processes or with another
   * build of the layer, and nothing remains.
   */
  static readonly layerMemory = (options: RegistryOptions = {}): Layer.Layer<Registry, Discovery.InvalidName> =>
    Layer.effect(Registry, make(options, "own")).pipe(Layer.provide(EtcdMemory.layer()))

  /**
   * A registry for tests in which these instances are, for ever, and nothing else.
   *
   * `discover` emits one `Live` set and stays open. What is registered is `Registered` at once, and is seen by nobody.
   * Metadata that does not fit the schema of a service is in `rejected`, as it would be with etcd.
   *
   * @example
   * ```ts
   * import { getInstances, Registry } from "@effect-etcd/discovery"
   * import { Effect } from "effect"
   * import assert from "node:assert/strict"
   *
   * const endpoints = Effect.map(getInstances("orders"), (set) => set.endpoints)
   * const registry = Registry.fixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
   * assert.deepEqual(await Effect.runPromise(Effect.provide(endpoints, registry)), ["http://10.0.0.5:8080"])
   * ```
   */
  static readonly fixed = (instances: Iterable<Doubles.FixedInstance>): Layer.Layer<Registry> =>
    Layer.sync(Registry, () => Doubles.fixed(defaultKeyspace, instances))

  /**
   * A registry for tests that is refused everything with this error: `registerService` fails with
   * `RegistrationRefused`, the rest with `DiscoveryRefused`. It tries nothing again, whatever the error.
   *
   * @example
   * ```ts
   * import { getInstances, Registry } from "@effect-etcd/discovery"
   * import { EtcdError } from "@effect-etcd/discovery/etcd"
   * import { Effect } from "effect"
   * import assert from "node:assert/strict"
   *
   * const cause = new EtcdError.EtcdError({ reason: new EtcdError.PermissionDenied({ detail: "permission denied" }), method: "range" })
   * const error = await Effect.runPromise(
   *   getInstances("orders").pipe(Effect.flip, Effect.provide(Registry.failing(cause)))
   * )
   * assert.equal(error._tag, "DiscoveryRefused")
   * ```
   */
  static readonly failing = (error: EtcdError): Layer.Layer<Registry> =>
    Layer.sync(Registry, () => Doubles.failing(defaultKeyspace, error))

  /**
   * A registry over the etcd that the configuration describes: `ETCD_ENDPOINTS` (comma-separated), `ETCD_USERNAME`,
   * `ETCD_PASSWORD`, `ETCD_CA_CERT`, `ETCD_CERT`, `ETCD_KEY`, `ETCD_DIAL_TIMEOUT`, `ETCD_NAMESPACE`.
   */
  static readonly layerConfig: Layer.Layer<Registry, Discovery.InvalidName | EtcdError | Config.ConfigError> = Layer
    .unwrap(Effect.gen(function* () {
      const etcd = yield* EtcdGrpc.config
      const namespace = yield* Config.withDefault(Config.String("ETCD_NAMESPACE"), Keyspace.defaultNamespace)
      return Registry.layerEtcd({ ...etcd, namespace })
    }))

  /**
   * A registry over the etcd that a file names, in which the services of the file are registered, and those that it
   * wants to discover are followed, for as long as the layer lives.
   *
   * The file is YAML, TOML or JSON, in our shape or in that of go-zero; see {@link registerFromConfig}. Its `etcd` says
   * where etcd is (the options of {@link Registry.layerEtcd}), its `namespace` what keys start with. The layer is built once
   * every instance is in etcd and the first set of each followed service is known, so that `discover` answers at once.
   *
   * Fails with `InvalidDeclaration`, which names everything that is wrong with the file, before anything is sent; and as
   * {@link registerService} and {@link discover} do. What was registered by then is revoked. Under Deno it needs to read
   * the file (`--allow-read`) and the variables that it names (`--allow-env`), and for an endpoint such as `0.0.0.0`
   * without `ADVERTISE_ADDRESS` and `POD_IP` the interfaces of the machine (`--allow-sys`).
   *
   * @example
   * ```ts ignore
   * import { discover, Registry, runMain } from "@effect-etcd/discovery"
   * import { Effect, Layer } from "effect"
   *
   * runMain(Layer.launch(Registry.fromFile("service.yaml")))
   * ```
   */
  static readonly fromFile = (
    source: DeclarationSource,
    options: RegistryOptions & DeclarationOptions = {}
  ): Layer.Layer<
    Registry,
    InvalidDeclaration | Discovery.InvalidName | EtcdError | RegistrationError | Discovery.DiscoveryError
  > =>
    Layer.unwrap(Effect.gen(function* () {
      const { advertise, env, health, ...registryOptions } = options
      const declaration = yield* readDeclaration(source, { advertise, env, health }, true)
      const { etcd = { endpoints: [] }, namespace } = declaration
      const registry = Effect.gen(function* () {
        const registry = yield* make({ ...registryOptions, ...(namespace === undefined ? {} : { namespace }) }, "own")
        yield* declare(registry, declaration)
        return registry
      })
      return Layer.effect(Registry, registry).pipe(Layer.provide(EtcdGrpc.layer(etcd)))
    }))
}

/**
 * Registers the services that a file declares, and follows those that it wants to discover, until the scope closes.
 *
 * The file is YAML, TOML or JSON by its name:
 *
 * ```yaml
 * etcd: # only for Registry.fromFile
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
 * A service has the options of {@link registerService} that are data. `${NAME}` and `${NAME:-default}` are variables of the
 * environment; a host that means every interface (`0.0.0.0`, `[::]`, none) becomes the advertised address. Files of go-zero
 * are read, too: `Etcd` beside `ListenOn` is registered, any other `Etcd` is discovered.
 *
 * It uses the registry of the context: `etcd` and `namespace` of the file, which say where, are checked and otherwise left to
 * {@link Registry.fromFile}. It completes with the registrations, in the order of the file, once every instance is in etcd
 * and the first set of each followed service is known; a followed service keeps its watch until the scope closes. A
 * registration that can no longer be kept is logged. Fails as {@link Registry.fromFile} does; then nothing stays registered.
 *
 * @example
 * ```ts
 * import { getInstances, registerFromConfig, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const text = `
 * services:
 *   - name: orders
 *     endpoints: [http://0.0.0.0:8080]
 * `
 * const program = Effect.gen(function* () {
 *   yield* registerFromConfig({ text, format: "yaml" }, { advertise: "10.0.0.5" })
 *   assert.deepEqual((yield* getInstances("orders")).endpoints, ["http://10.0.0.5:8080"])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 */
export const registerFromConfig = (
  source: DeclarationSource,
  options: DeclarationOptions = {}
): Effect.Effect<
  ReadonlyArray<Registration.Registration>,
  InvalidDeclaration | RegistrationError | Discovery.DiscoveryError,
  Registry | Scope.Scope
> =>
  Effect.gen(function* () {
    const registry = yield* Registry
    return yield* declare(registry, yield* readDeclaration(source, options, false))
  })

/**
 * Registers an instance and keeps it registered until the scope closes.
 *
 * A lease is granted, the key is put in one Txn under the rule of `claim`, and supervised fibers (the registration's
 * own, one for the heartbeats, one that watches the key, one for `health`) keep it there and put it back after any loss,
 * with the backoff of `retry`. With `startup: "await"` it completes once the key is in etcd.
 *
 * Fails with `InvalidRegistration` before anything is sent, `InstanceIdTaken`, `RegistrationRefused` when etcd refuses
 * or a finite `retry` runs out, and `StartupTimeout`. When it fails or is interrupted, no lease and no key stay behind.
 *
 * Closing the scope publishes `"draining"` and waits for `drain` (if it is above 0), then revokes the lease, which
 * deletes the key. When etcd does not answer within `releaseTimeout`, that is logged and the lease runs out by itself.
 * A process that is killed disappears when its lease runs out: after up to about twice the TTL, since etcd refreshes
 * leases when its leader changes.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { getInstances, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const program = Effect.gen(function*() {
 *   yield* registerService({ name: "orders", endpoints: ["http://10.0.0.5:8080"] })
 *   const set = yield* getInstances("orders")
 *   return set.endpoints // ["http://10.0.0.5:8080"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 */
export function registerService(
  options: RegisterOptions
): Effect.Effect<Registration.Registration, RegistrationError, Registry | Scope.Scope>
/** Registers an instance of a defined service; the metadata is what its schema says. */
export function registerService<M>(
  service: Service<M>,
  options: InstanceOptions<M>
): Effect.Effect<Registration.Registration<M>, RegistrationError, Registry | Scope.Scope>
export function registerService<M>(
  ...args:
    | readonly [options: RegisterOptions]
    | readonly [service: Service<M>, options: InstanceOptions<M>]
): Effect.Effect<
  Registration.Registration | Registration.Registration<M>,
  RegistrationError,
  Registry | Scope.Scope
> {
  return Effect.flatMap(
    Registry,
    (registry): Effect.Effect<
      Registration.Registration | Registration.Registration<M>,
      RegistrationError,
      Scope.Scope
    > => args.length === 1 ? registry.register(Service.make(args[0].name), args[0]) : registry.register(...args)
  )
}

/**
 * The instances of a service, as a stream of complete sets that never ends by itself.
 *
 * The first set is emitted once a linearizable read has shown it, even if it is empty, and a new one after each change.
 * Each is the state of etcd at one revision. A slow consumer gets the newest set. While etcd cannot be reached the last
 * set stays; one more is emitted that says `Stale`, and one when it is `Live` again.
 *
 * All consumers of a service with the same options share one watch in etcd, kept by one fiber and compared with etcd
 * by another every `reconcileEvery`; it is closed a second after the last consumer has left. Nothing is written.
 *
 * Fails with `InvalidName` before anything is sent, and with `DiscoveryRefused` for what trying again cannot mend:
 * permission denied, authentication refused, an invalid request. Everything else is tried again with backoff.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const program = Effect.gen(function*() {
 *   yield* registerService({ name: "orders", id: "a", endpoints: ["http://10.0.0.5:8080"] })
 *   yield* discover("orders").pipe(
 *     Stream.take(1),
 *     Stream.runForEach((set) => Effect.log(`${set.size} instances at revision ${set.revision}`))
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 */
export function discover(
  name: string,
  options?: Discovery.DiscoverOptions
): Stream.Stream<InstanceSet, Discovery.DiscoveryError, Registry>
/** The instances of a defined service, with its metadata. */
export function discover<M>(
  service: Service<M>,
  options?: Discovery.DiscoverOptions
): Stream.Stream<InstanceSet<M>, Discovery.DiscoveryError, Registry>
export function discover<M>(
  service: string | Service<M>,
  options?: Discovery.DiscoverOptions
): Stream.Stream<InstanceSet | InstanceSet<M>, Discovery.DiscoveryError, Registry> {
  return Stream.unwrap(
    Effect.map(
      Registry,
      (registry): Stream.Stream<InstanceSet | InstanceSet<M>, Discovery.DiscoveryError> =>
        typeof service === "string" ?
          registry.discover(Service.make(service), options) :
          registry.discover(service, options)
    )
  )
}

/**
 * What becomes of each instance of a service: first every current one as `Added`, then `Added`, `Updated` and `Removed`.
 *
 * Derived from consecutive sets of {@link discover}, so whoever applies the changes has the newest set; what a slow
 * consumer missed is told as one change for each instance. Fails as `discover` does.
 */
export function discoverChanges(
  name: string,
  options?: Discovery.DiscoverOptions
): Stream.Stream<Change, Discovery.DiscoveryError, Registry>
/** What becomes of each instance of a defined service. */
export function discoverChanges<M>(
  service: Service<M>,
  options?: Discovery.DiscoverOptions
): Stream.Stream<Change<M>, Discovery.DiscoveryError, Registry>
export function discoverChanges<M>(
  service: string | Service<M>,
  options?: Discovery.DiscoverOptions
): Stream.Stream<Change | Change<M>, Discovery.DiscoveryError, Registry> {
  return typeof service === "string" ? changesOf(discover(service, options)) : changesOf(discover(service, options))
}

const changesOf = <M, E, R>(sets: Stream.Stream<InstanceSet<M>, E, R>): Stream.Stream<Change<M>, E, R> =>
  Stream.mapAccum(
    sets,
    (): InstanceSet<M> | undefined => undefined,
    (before, set): readonly [InstanceSet<M>, ReadonlyArray<Change<M>>] => [set, diff(before, set)]
  )

/**
 * The instances of a service now: one linearizable read, paginated at one revision.
 *
 * The options are those of {@link discover}, so that both can be given the same; they are checked, and say nothing about
 * a single read. Fails with `InvalidName` before anything is sent and with `DiscoveryRefused` when etcd does not answer or
 * refuses; it does not try again. No fiber starts and nothing is written.
 */
export function getInstances(
  name: string,
  options?: Discovery.DiscoverOptions
): Effect.Effect<InstanceSet, Discovery.DiscoveryError, Registry>
/** The instances of a defined service now. */
export function getInstances<M>(
  service: Service<M>,
  options?: Discovery.DiscoverOptions
): Effect.Effect<InstanceSet<M>, Discovery.DiscoveryError, Registry>
export function getInstances<M>(
  service: string | Service<M>,
  options: Discovery.DiscoverOptions = {}
): Effect.Effect<InstanceSet | InstanceSet<M>, Discovery.DiscoveryError, Registry> {
  return Effect.gen(function* () {
    const registry = yield* Registry
    yield* Effect.fromResult(Discovery.settingsOf(options))
    return typeof service === "string" ?
      yield* registry.getInstances(Service.make(service)) :
      yield* registry.getInstances(service)
  })
}

/** Where services are listed. */
export interface ListServicesOptions {
  /** Only services whose name starts with this. Default: all. */
  readonly prefix?: string
}

/**
 * The services that have instances, ordered by name: one linearizable read of the keys of the namespace.
 *
 * Fails with `DiscoveryRefused` when etcd does not answer or refuses; it does not try again.
 */
export const listServices = (
  options: ListServicesOptions = {}
): Effect.Effect<ReadonlyArray<Discovery.ListedService>, Discovery.DiscoveryError, Registry> =>
  Effect.flatMap(
    Registry,
    ({ listServices }) =>
      Effect.map(listServices, (all) => all.filter(({ name }) => name.startsWith(options.prefix ?? "")))
  )
