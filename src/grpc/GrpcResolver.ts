/**
 * A name resolver for `@grpc/grpc-js`: the channel of `discovery:///orders` follows the service `orders`.
 *
 * | the set of instances              | the channel                                                        |
 * | --------------------------------- | ------------------------------------------------------------------ |
 * | is not known yet                  | waits; after `discoveryTimeout` calls fail with `UNAVAILABLE`      |
 * | has instances that take traffic   | gets their addresses, an address as often as its weight demands    |
 * | has none                          | fails calls with `UNAVAILABLE`; the details say which are draining |
 * | is stale, because etcd is away    | keeps its addresses                                                |
 * | is unreadable (no permission, …)  | keeps its addresses; without any, calls fail with `UNAVAILABLE`    |
 *
 * The resolver uses the `experimental` interface of grpc-js 1.14.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Cause, type Duration, Effect, type Fiber, FiberSet, Layer, type Scope, Stream } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { type Check, checkOptions, type InvalidOption } from "../internal/options.ts"
import { checkName, checkSettings, type DiscoverOptions } from "../registry/discovery/Discovery.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import * as Service from "../registry/model/Service.ts"
import * as Registry from "../registry/Registry.ts"
import { type AddressRules, resolutionOf } from "./addresses.ts"
import type { GrpcJs, Listener, ResolverClass, Target } from "./grpcJs.ts"
import { logWarning } from "../internal/log.ts"

export type { GrpcJs } from "./grpcJs.ts"

/**
 * Options of {@link register}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The scheme of targets. A later registration of a scheme replaces an earlier one. Default: `"discovery"`. */
  readonly scheme?: string
  /** The `Service` values of names, for typed metadata or a foreign format: `{ orders: Orders }`. Default: none. */
  readonly services?: Readonly<Record<string, Service.ServiceLike>>
  /** The schemes of endpoints that serve gRPC, best first. Default: `["grpc", "grpcs", "tcp"]`. */
  readonly endpointSchemes?: ReadonlyArray<string>
  /** The zone of this client. While it has enough instances, only these are used. Default: all zones. */
  readonly zone?: string
  /** The number of available instances that `zone` must have. A whole number of at least 1. Default: 1. */
  readonly minLocal?: number
  /**
   * The service config of the channels, such as `{ methodConfig: [...] }`. A channel option `grpc.service_config` takes
   * its place. Members that you leave out have the default:
   * `{ loadBalancingConfig: [{ round_robin: {} }], methodConfig: [] }`.
   */
  readonly serviceConfig?: {
    readonly loadBalancingConfig?: ReadonlyArray<Readonly<Record<string, object>>>
    readonly methodConfig?: ReadonlyArray<object>
  }
  /** How long calls wait for the first set. Default: 5 seconds. */
  readonly discoveryTimeout?: Duration.Input
  /** Options of discovery. */
  readonly discover?: DiscoverOptions
}

/** The checked options. */
interface Plan extends AddressRules {
  readonly scheme: string
  readonly services: ReadonlyMap<string, Service.AnyService>
  readonly serviceConfig: object
  readonly discoveryTimeout: Duration.Duration
  readonly discover: DiscoverOptions
}

const of = "GrpcResolver.register"

/** The status code `UNAVAILABLE`: the name does not resolve. */
const unavailable = 14

/** The backoff after discovery failed. */
const discoveryBackoff = Backoff.fullJitter("1 second", "30 seconds")

const planOf = (check: Check, grpc: GrpcJs, options: Options): Plan => {
  const { endpointSchemes = ["grpc", "grpcs", "tcp"], minLocal = 1, scheme = "discovery", services = {}, zone } =
    options
  if (typeof grpc?.experimental?.statusOrFromValue !== "function") {
    check.refuse("grpc", typeof grpc, "it must be the module @grpc/grpc-js 1.14 or newer: import * as grpc from it")
  }
  checkSettings(check, check.object("discover", options.discover ?? {}))
  return {
    scheme: /^[a-z][a-z0-9+.-]*$/i.test(check.text("scheme", scheme)) ?
      scheme :
      check.refuse("scheme", scheme, 'it must be the scheme of a URL, such as "discovery"'),
    services: new Map(
      Object.entries(check.object("services", services)).map(([name, service]) => {
        const value = Service.fromLike(service)
        checkName(check, value)
        return [name, value]
      })
    ),
    schemes: check.list("endpointSchemes", endpointSchemes).length > 0 ?
      endpointSchemes.map((one) => check.text("endpointSchemes", one).toLowerCase()) :
      check.refuse("endpointSchemes", endpointSchemes, 'it must have a scheme, such as "grpc"'),
    zone: zone === "" ?
      check.refuse("zone", zone, "it must not be empty") :
      zone === undefined ?
      undefined :
      check.text("zone", zone),
    minLocal: check.number("minLocal", minLocal, { min: 1, whole: true }),
    serviceConfig: { loadBalancingConfig: [{ round_robin: {} }], methodConfig: [], ...options.serviceConfig },
    discoveryTimeout: check.duration("discoveryTimeout", options.discoveryTimeout ?? "5 seconds"),
    discover: options.discover ?? {}
  }
}

/** The service that a target names. Throws an `InvalidOption` if it names none. */
const serviceOf = (target: Target, { scheme, services }: Plan): Service.AnyService => {
  const text = `${scheme}://${target.authority ?? ""}/${target.path}`
  const checked = checkOptions("new Client", (check) => {
    const refuse = () => check.refuse("target", text, `it must be ${scheme}:/// and the name of a service`)
    if (target.authority !== undefined && target.authority !== "") refuse()
    let name = ""
    try {
      name = decodeURIComponent(target.path)
    } catch {
      refuse()
    }
    const service = services.get(name) ?? Service.make(name)
    checkName(check, service)
    return service
  })
  // Thrown by the constructor of the channel: grpc-js has no other way to refuse a target.
  if (checked._tag === "Failure") throw checked.failure
  return checked.success
}

/** The name of a service as a valid host, because grpc-js builds a URL from it. */
const authorityOf = (name: string): string => {
  const host = name.replaceAll(/[^\w.-]/g, "-")
  return URL.canParse(`http://${host}`) ? host : "service"
}

/** The registration of a resolver class. */
interface Registration {
  readonly registry: Registry.Registry
  /** Runs an effect until the registration ends. */
  readonly run: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  hasEnded: boolean
}

/** The addresses of one channel. */
class Resolution {
  readonly #grpc: GrpcJs
  readonly #plan: Plan
  readonly #listener: Listener
  readonly #service: string
  readonly #serviceConfig: unknown
  /** The addresses that the channel has, or why it has none. `undefined` before the first update. */
  #known: string | undefined

  constructor(grpc: GrpcJs, plan: Plan, listener: Listener, service: string, channelOptions: object) {
    this.#grpc = grpc
    this.#plan = plan
    this.#listener = listener
    this.#service = service
    const isConfigured = "grpc.service_config" in channelOptions
    this.#serviceConfig = isConfigured ? null : grpc.experimental.statusOrFromValue(plan.serviceConfig)
  }

  /** Passes the addresses of a set to the channel, unless they are unchanged: each list makes the channel pick anew. */
  update<M>(set: InstanceSet<M>): void {
    const { addresses, note } = resolutionOf(set, this.#plan)
    const known = addresses.length === 0 ? note : addresses.map(({ host, port }) => `${host} ${port}`).join()
    if (known === this.#known) return
    this.#known = known
    const endpoints = addresses.map((address) => ({ addresses: [address] }))
    this.#emit(this.#grpc.experimental.statusOrFromValue(endpoints), note)
    // An error alone would leave the old addresses in use, so the channel first gets an empty list. Calls wait until
    // the error follows and fails them.
    if (addresses.length === 0) this.#emitError(`no instance takes traffic; ${note}`)
  }

  /** Reports why there is no first set. A channel that has addresses keeps them. */
  fail(reason: string): void {
    if (this.#known === undefined) this.#emitError(reason)
  }

  #emitError(reason: string): void {
    const details = `cannot resolve ${JSON.stringify(this.#service)}: ${reason}`
    this.#emit(this.#grpc.experimental.statusOrFromError({ code: unavailable, details }), details)
  }

  #emit(endpoints: unknown, note: string): void {
    this.#listener(endpoints as never, {} as never, this.#serviceConfig as never, note)
  }
}

/** Follows a service for a channel. */
const follow = (
  registry: Registry.Registry,
  service: Service.AnyService,
  plan: Plan,
  resolution: Resolution
): Effect.Effect<void> => {
  const sets = registry.discover(Service.fromLike(service), plan.discover).pipe(
    Stream.tap((set) => Effect.sync(() => resolution.update(set))),
    // A defect, such as an exception of the user's codec, must not end the resolver either.
    Stream.catchCause((cause) => Stream.fail(cause)),
    Stream.tapError((cause) => {
      const error = Cause.squash(cause)
      const message = error instanceof Error ? error.message : String(error)
      resolution.fail(message)
      return logWarning(`discovery of ${JSON.stringify(service.name)} failed; retrying: ${message}`)
    }),
    Stream.retry(discoveryBackoff),
    Stream.runDrain,
    Effect.ignore
  )
  const late = Effect.andThen(
    Effect.sleep(plan.discoveryTimeout),
    Effect.sync(() => resolution.fail("its instances are not known yet, because etcd has not answered"))
  )
  return Effect.asVoid(Effect.all([sets, late], { concurrency: 2 }))
}

/**
 * grpc-js cannot unregister a class. After the registration has ended, the class fails new channels with this error.
 */
const classOf = (grpc: GrpcJs, plan: Plan, registration: Registration): ResolverClass =>
  class {
    readonly #start: () => Fiber.Fiber<void>
    #fiber: Fiber.Fiber<void> | undefined

    constructor(target: Target, listener: Listener, channelOptions: object) {
      const service = serviceOf(target, plan)
      this.#start = () => {
        const resolution = new Resolution(grpc, plan, listener, service.name, channelOptions)
        const started = Effect.suspend(() => follow(registration.registry, service, plan, resolution))
        const ended = Effect.sync(() => resolution.fail("the registration of the resolver has ended"))
        // The listener must not be called before `updateResolution` has returned.
        return registration.hasEnded ?
          Effect.runFork(Effect.andThen(Effect.yieldNow, ended)) :
          registration.run(Effect.andThen(Effect.yieldNow, started))
      }
    }

    static getDefaultAuthority(target: Target): string {
      return authorityOf(serviceOf(target, plan).name)
    }

    updateResolution(): void {
      // After the first call there is nothing to do: the fiber delivers each new set.
      this.#fiber ??= this.#start()
    }

    destroy(): void {
      this.#fiber?.interruptUnsafe()
      this.#fiber = undefined
    }
  }

/**
 * Registers the resolver with a copy of grpc-js until the scope closes.
 *
 * **When to use**
 *
 * For existing clients of grpc-js, generated or not: only their target changes. To pick an instance per call by latency
 * or by key, use `ServiceClient` with a client for each instance.
 *
 * **Details**
 *
 * It completes at once. From its first call on, each channel follows its service in one fiber. It shares the watch with
 * all consumers of the service. Instances that drain, are down or have the weight 0 leave the channel; calls in flight
 * to them go on. Under `round_robin`, weights become repeated addresses. They are exact for whole weights with a small
 * sum, else within about 2 %.
 *
 * When the scope closes, channels keep the addresses that they have and get no updates.
 *
 * Fails with `InvalidOption` if an option breaks its rule. A target that names no service makes the constructor of the
 * client throw `InvalidOption`.
 *
 * **Gotchas**
 *
 * Pass the copy of grpc-js that makes the clients: a process can hold two. grpc-js uses the variables `grpc_proxy` and
 * `http_proxy` for every target, unless the channel has the option `"grpc.enable_http_proxy": 0`. With TLS, grpc-js
 * expects the name of the service in the certificate, unless the channel has `"grpc.ssl_target_name_override"`.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { GrpcResolver } from "@effect-etcd/discovery/grpc"
 * import * as grpc from "@grpc/grpc-js"
 * import { Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const client = new grpc.Client("discovery:///orders", grpc.credentials.createInsecure())
 *   yield* Effect.addFinalizer(() => Effect.sync(() => client.close()))
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["grpc://10.0.0.5:50051"] }])
 * await Effect.runPromise(program.pipe(
 *   Effect.scoped,
 *   Effect.provide(GrpcResolver.layer(grpc).pipe(Layer.provide(registry)))
 * ))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const register = (
  grpc: GrpcJs,
  options: Options = {}
): Effect.Effect<void, InvalidOption, Registry.Registry | Scope.Scope> =>
  Effect.gen(function* () {
    const plan = yield* Effect.fromResult(checkOptions(of, (check) => planOf(check, grpc, options)))
    const registration: Registration = {
      registry: yield* Registry.Registry,
      run: yield* FiberSet.makeRuntime<never, void, never>(),
      hasEnded: false
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => registration.hasEnded = true))
    grpc.experimental.registerResolver(plan.scheme, classOf(grpc, plan, registration))
  })

/**
 * Registers the resolver with a copy of grpc-js for the life of the layer.
 *
 * **Details**
 *
 * The same as {@link register}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (grpc: GrpcJs, options: Options = {}): Layer.Layer<never, InvalidOption, Registry.Registry> =>
  Layer.effectDiscard(register(grpc, options))
