/**
 * The registry of services, in which instances are registered and discovered.
 *
 * Programs call `registerService`, `discover` and their siblings. A layer of this module decides where the instances
 * are kept.
 *
 * @since 0.1.0
 * @module
 */
import { Config, Context, Effect, Layer, Result, type Schedule, type Scope, type Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import * as EtcdGrpc from "../etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../etcd/memory/EtcdMemory.ts"
import * as Setting from "../internal/config.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { traced } from "../internal/traced.ts"
import * as Discovery from "./discovery/Discovery.ts"
import type { Catalog } from "./discovery/Catalog.ts"
import type { InstanceSet } from "./model/InstanceSet.ts"
import * as Keyspace from "./model/Keyspace.ts"
import type { Service } from "./model/Service.ts"
import { checkPolicy, plan, type RegisterOptions, type RegistrationPolicy } from "./registration/RegisterOptions.ts"
import type { RegistrationError, RegistrationLost } from "./registration/RegistrationError.ts"
import * as Registrar from "./registration/Registrar.ts"
import * as Registration from "./registration/Registration.ts"
import * as TestRegistries from "./testRegistries.ts"

export type { FixedInstance } from "./testRegistries.ts"

/**
 * The operations behind `registerService`, `discover`, `getInstances` and `listServices`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registry {
  /** See `registerService`. */
  readonly register: <M>(
    service: Service<M>,
    options: RegisterOptions<M>
  ) => Effect.Effect<Registration.Registration<M>, RegistrationError, Scope.Scope>
  /** See `discover`. */
  readonly discover: <M>(
    service: Service<M>,
    options?: Discovery.DiscoverOptions
  ) => Stream.Stream<InstanceSet<M>, Discovery.DiscoveryError>
  /** See `discoverAll`. */
  readonly discoverAll: (options?: Discovery.DiscoverOptions) => Stream.Stream<Catalog, Discovery.DiscoveryError>
  /** See `getInstances`. */
  readonly getInstances: <M>(
    service: Service<M>,
    options?: Discovery.ReadOptions
  ) => Effect.Effect<InstanceSet<M>, Discovery.DiscoveryError>
  /** See `listServices`. */
  readonly listServices: Effect.Effect<ReadonlyArray<Discovery.ListedService>, Discovery.DiscoveryError>
}

/**
 * The service key of the {@link Registry}.
 *
 * @since 0.1.0
 * @category services
 */
export const Registry: Context.Service<Registry, Registry> = Context.Service("@effect-etcd/discovery/Registry")

/**
 * Where instances are kept, and the defaults of every registration and discovery.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends RegistrationPolicy, Omit<Discovery.DiscoverOptions, "retry"> {
  /** The start of all keys. `services` means `/services`. Default: `/services`. */
  readonly namespace?: string
  /** The backoff of registrations and discoveries. Default: `Backoff.standard`. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
}

const make = Effect.fnUntraced(function* (
  { namespace = Keyspace.defaultNamespace, ...defaults }: Options
): Effect.fn.Return<Registry, InvalidOption, Etcd | Scope.Scope> {
  const { keyspace, settings } = yield* Effect.fromResult(checkOptions("Registry.layer", (check) => {
    checkPolicy(check, defaults)
    return {
      keyspace: check.valid("namespace", namespace, Keyspace.make(namespace)),
      settings: Discovery.checkSettings(check, defaults)
    }
  }))
  const etcd = yield* Etcd
  const discovery = yield* Discovery.make(etcd, keyspace)
  const registrar = yield* Registrar.make(etcd, settings)
  return {
    register: (service, options) =>
      Effect.fromResult(plan(keyspace, service, { ...defaults, ...options })).pipe(
        Effect.flatMap((plan) => Registration.make(registrar, plan)),
        traced("registerService", { attributes: { service: service.name } })
      ),
    discover: (service, options) => discovery.discover(service, { ...defaults, ...options }),
    discoverAll: (options) => discovery.discoverAll({ ...defaults, ...options }),
    getInstances: (service, options) =>
      discovery.getInstances(service, { ...defaults, ...options }).pipe(
        Effect.withSpan("getInstances", { attributes: { service: service.name } })
      ),
    listServices: discovery.listServices.pipe(Effect.withSpan("listServices"))
  }
})

/**
 * A registry over the `Etcd` of the context.
 *
 * **Details**
 *
 * Building the layer sends nothing: etcd may be down. Closing its scope ends what is discovered through it. Fails with
 * `InvalidOption`.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect, Layer } from "effect"
 * import assert from "node:assert/strict"
 *
 * const registry = Registry.layer({ namespace: "/staging" }).pipe(Layer.provide(EtcdMemory.layer()))
 * const set = await Effect.runPromise(Effect.provide(getInstances("orders"), registry))
 * assert.equal(set.size, 0)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Registry, InvalidOption, Etcd> =>
  Layer.effect(Registry, make(options))

/**
 * A registry over etcd servers.
 *
 * **Details**
 *
 * Building the layer sends nothing: etcd may be down. Closing its scope ends what is discovered through it and what is
 * still registered, then the connections. Fails with `InvalidOption`, and with an `EtcdError` for an invalid option of
 * the client.
 *
 * @example
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Redacted } from "effect"
 *
 * const registry = Registry.layerEtcd({
 *   endpoints: ["https://etcd-0:2379", "https://etcd-1:2379", "https://etcd-2:2379"],
 *   tls: { ca: "/etc/etcd/ca.pem" },
 *   username: "orders",
 *   password: Redacted.make("secret")
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEtcd = (
  options: EtcdGrpc.Options & Options
): Layer.Layer<Registry, InvalidOption | EtcdError> =>
  Layer.effect(Registry, make(options)).pipe(Layer.provide(EtcdGrpc.layer(options)))

/**
 * A registry in this process, for tests and first steps.
 *
 * **Details**
 *
 * Each build of the layer is a registry of its own, in this process only. Nothing remains when its scope closes.
 *
 * @example
 * ```ts
 * import { getInstances, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   assert.equal((yield* getInstances("orders")).size, 1)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options: Options = {}): Layer.Layer<Registry, InvalidOption> =>
  Layer.effect(Registry, make(options)).pipe(Layer.provide(EtcdMemory.layer()))

/**
 * A registry over the etcd that the configuration names.
 *
 * **Details**
 *
 * It reads `ETCD_ENDPOINTS` (separated by commas), `ETCD_USERNAME`, `ETCD_PASSWORD`, `ETCD_CA_CERT`, `ETCD_CERT`,
 * `ETCD_KEY`, `ETCD_DIAL_TIMEOUT`, `ETCD_SYNC_EVERY` and `ETCD_NAMESPACE` from the `ConfigProvider`. The options take
 * precedence.
 *
 * @example
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { ConfigProvider, Effect, Layer } from "effect"
 *
 * const env = ConfigProvider.fromEnv({ env: { ETCD_ENDPOINTS: "http://127.0.0.1:2379" } })
 * const registry = Registry.layerConfig().pipe(Layer.provide(ConfigProvider.layer(env)))
 * await Effect.runPromise(Effect.scoped(Layer.build(registry)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Options = {}
): Layer.Layer<Registry, InvalidOption | EtcdError | Config.ConfigError> =>
  Layer.unwrap(Effect.gen(function* () {
    const etcd = yield* EtcdGrpc.config
    const namespace = yield* Config.withDefault(Setting.text("ETCD_NAMESPACE"), Keyspace.defaultNamespace)
    return layerEtcd({ ...etcd, namespace, ...options })
  }))

const defaultKeyspace = Result.getOrThrow(Keyspace.make(Keyspace.defaultNamespace))

/**
 * A registry for tests with these instances, which never change.
 *
 * **Details**
 *
 * `discover` emits one `Live` set and stays open. A registration is `Registered` at once, and no consumer sees it.
 * Metadata that does not fit the schema of a service is in `rejected`, as it would be with etcd.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const endpoints = Effect.map(getInstances("orders"), (set) => set.endpoints)
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * assert.deepEqual(await Effect.runPromise(Effect.provide(endpoints, registry)), ["http://10.0.0.5:8080"])
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const layerFixed = (instances: Iterable<TestRegistries.FixedInstance>): Layer.Layer<Registry> =>
  Layer.sync(Registry, () => TestRegistries.fixed(defaultKeyspace, instances))

/**
 * A registry for tests whose operations all fail with this error.
 *
 * **Details**
 *
 * `registerService` fails with `RegistrationRefused`, the others with `DiscoveryRefused`. Nothing is retried, whatever
 * the error.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { EtcdError } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const reason = new EtcdError.PermissionDenied({ detail: "permission denied" })
 * const cause = new EtcdError.EtcdError({ reason, method: "range" })
 * const error = await Effect.runPromise(
 *   getInstances("orders").pipe(Effect.flip, Effect.provide(Registry.layerFailing(cause)))
 * )
 * assert.equal(error._tag, "DiscoveryRefused")
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const layerFailing = (error: EtcdError): Layer.Layer<Registry> =>
  Layer.sync(Registry, () => TestRegistries.failing(defaultKeyspace, error))
