/**
 * The registry behind promises.
 *
 * @since 0.1.0
 * @module
 */
import {
  type Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  ManagedRuntime,
  Predicate,
  Redacted,
  Result,
  Scope,
  Stream
} from "effect"
import { FetchHttpClient, type HttpClient } from "effect/http"
import process from "node:process"
import type * as EtcdGrpc from "../etcd/grpc/EtcdGrpc.ts"
import * as ConnectTransport from "../grpc/ConnectTransport.ts"
import * as GrpcResolver from "../grpc/GrpcResolver.ts"
import * as DiscoveryHttpClient from "../http/DiscoveryHttpClient.ts"
import { makeFetch } from "../http/fetch.ts"
import { type Check, checkOptions } from "../internal/options.ts"
import type * as Monitoring from "../monitoring/Monitoring.ts"
import { discover } from "../registry/discover.ts"
import { getInstances } from "../registry/getInstances.ts"
import { listServices } from "../registry/listServices.ts"
import type { MetadataOf, ServiceLike } from "../registry/model/Service.ts"
import { registerService } from "../registry/registerService.ts"
import type { RegisterOptions as EffectOptions } from "../registry/registration/RegisterOptions.ts"
import type { Registration as EffectRegistration } from "../registry/registration/Registration.ts"
import * as Registry from "../registry/Registry.ts"
import { type ClientError, closed, fromCause, fromError } from "./ClientError.ts"
import { fromSet, type Instances } from "./Instances.ts"
import type { RegisterOptions, Registration, Status } from "./Registration.ts"
import { logError } from "../internal/log.ts"

/**
 * The endpoints of etcd, and the options of the client.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectOptions<S extends ServiceLike = string> {
  /** The members of one cluster, such as `["http://127.0.0.1:2379"]`. Needed unless `memory` is true. */
  readonly endpoints?: ReadonlyArray<string>
  /** Uses an etcd inside this process, for tests and first steps. Default: false. */
  readonly memory?: boolean
  readonly username?: string
  /** The password, or a function that returns the current one; it is called at each authentication. */
  readonly password?: string | (() => string | PromiseLike<string>)
  readonly tls?: EtcdGrpc.Tls
  /** The start of all keys. Default: `/services`. */
  readonly namespace?: string
  /**
   * Releases everything on SIGINT and SIGTERM, then exits: with 0 after SIGTERM, with 130 after SIGINT. Default: false,
   * because the signals belong to the program.
   */
  readonly handleSignals?: boolean
  /** Maps hosts of `fetch` to services if the host is not the service's name: `{ "pay.internal": "payments" }`. */
  readonly services?: Readonly<Record<string, S>>
}

/**
 * Options of `monitoring`: those of `Monitoring.webHandler`, with a function for `ready`.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface MonitoringOptions extends Omit<Monitoring.Options, "ready"> {
  /** Whether the process is ready: `/readyz` is 503 if it returns false, rejects, or takes 5 seconds. Default: always. */
  readonly ready?: () => boolean | PromiseLike<boolean>
}

/**
 * A connection to the registry.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client extends AsyncDisposable {
  /**
   * Registers an instance until it is released or the client closes. Resolves when it is in etcd, and rejects with
   * `CLOSED` if the client closes before.
   */
  readonly register: <S extends ServiceLike>(
    service: S,
    options: RegisterOptions<MetadataOf<S>>
  ) => Promise<Registration<MetadataOf<S>>>
  /** Reads the instances of a service once, linearizably. */
  readonly instances: <S extends ServiceLike>(service: S) => Promise<Instances<MetadataOf<S>>>
  /**
   * Calls the listener with the current set and with each later one. The returned function ends that.
   *
   * A listener that throws does not end the subscription; its error is logged. `onError` is called once if etcd refuses
   * the first read; nothing follows. Without `onError` that error is logged.
   */
  readonly subscribe: <S extends ServiceLike>(
    service: S,
    listener: (set: Instances<MetadataOf<S>>) => void,
    onError?: (error: ClientError) => void
  ) => () => void
  /** The current set and each later one, for `for await`. A slow loop receives the newest. */
  readonly watch: <S extends ServiceLike>(service: S) => AsyncIterable<Instances<MetadataOf<S>>>
  /** The names of all services that have instances, and the number of instances of each. */
  readonly services: () => Promise<ReadonlyArray<{ readonly name: string; readonly instances: number }>>
  /**
   * `fetch` with service names as hosts: `client.fetch("http://orders/7")`. Balanced, with retries. Works until `close`
   * has released all registrations. Rejects as `fetch` does: with a `TypeError`, or with the reason of `signal`.
   */
  readonly fetch: typeof globalThis.fetch
  /**
   * Makes `discovery:///orders` a target for clients of grpc-js: the channel follows the service `orders` until this
   * client closes. Pass the copy of grpc-js that your program imports; this module loads none.
   */
  readonly registerGrpcResolver: (grpc: GrpcResolver.GrpcJs, options?: GrpcResolver.Options) => Promise<void>
  /**
   * Makes a transport for the clients of ConnectRPC that picks an instance for each call, until this client closes. Takes
   * the module: `import * as connectNode from "@connectrpc/connect-node"`.
   */
  readonly connectTransport: <N extends ConnectTransport.ConnectNode, S extends ServiceLike>(
    connectNode: N,
    options: ConnectTransport.Options<N, S>
  ) => Promise<ReturnType<N["createGrpcTransport"]>>
  /**
   * The routes of `./monitoring` (`/metrics`, `/sd/prometheus`, `/livez`, `/readyz`) for `Deno.serve` and `Bun.serve`,
   * and through its `nodeListener` for `node:http`. They serve until the client closes.
   */
  readonly monitoring: (options?: MonitoringOptions) => Promise<Monitoring.WebHandler>
  /** Releases all registrations, ends all subscriptions and closes the connection. May be called twice. */
  readonly close: () => Promise<void>
}

const layerOf = <S extends ServiceLike>(options: ConnectOptions<S>): Layer.Layer<Registry.Registry, unknown> => {
  const { endpoints, memory, namespace, password, tls, username } = options
  const registry = namespace === undefined ? {} : { namespace }
  if (memory === true) return Registry.layerMemory(registry)
  const secret = typeof password === "function" ?
    Effect.map(Effect.tryPromise(async () => await password()), (text) => Redacted.make(text)) :
    password === undefined ?
    undefined :
    Redacted.make(password)
  return Registry.layerEtcd({
    ...registry,
    endpoints: endpoints ?? [],
    ...(username === undefined ? {} : { username }),
    ...(secret === undefined ? {} : { password: secret }),
    ...(tls === undefined ? {} : { tls })
  })
}

const signals = { SIGINT: 130, SIGTERM: 0 } as const

/**
 * Connects to the registry. Nothing is sent before the first call.
 *
 * **Details**
 *
 * Every promise but those of `fetch` rejects with a `ClientError`, which has a `code`. The client keeps the process
 * alive while it has a registration or a subscription. `await using` closes it at the end of a block.
 *
 * Log lines go to stderr, so stdout belongs to the program.
 *
 * Rejects with code `INVALID_OPTION` if an option breaks its rule.
 *
 * @example
 * ```ts
 * import { connect } from "@effect-etcd/discovery/promise"
 *
 * const client = await connect({ memory: true }) // or { endpoints: ["http://127.0.0.1:2379"] }
 * const registration = await client.register("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *
 * const { endpoints } = await client.instances("orders")
 * console.log(endpoints) // ["http://10.0.0.5:8080"]
 *
 * for await (const set of client.watch("orders")) {
 *   console.log(`${set.available.length} instances at revision ${set.revision}`)
 *   break
 * }
 * await registration.release()
 * await client.close()
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const connect = async <S extends ServiceLike = string>(options: ConnectOptions<S>): Promise<Client> => {
  checked("connect", (check) => {
    // A text may be a URL with a password.
    if (typeof options !== "object" || options === null) {
      check.refuse("options", typeof options, 'it must be an object, such as { endpoints: ["http://127.0.0.1:2379"] }')
    }
    if (options.memory !== true && options.endpoints === undefined) {
      check.refuse(
        "endpoints",
        undefined,
        'it must be a list such as ["http://127.0.0.1:2379"], or memory must be true'
      )
    }
  })
  const { services } = options
  const runtime = ManagedRuntime.make(
    DiscoveryHttpClient.layer(services === undefined ? {} : { services }).pipe(
      Layer.provide(FetchHttpClient.layer),
      Layer.provideMerge(layerOf(options)),
      Layer.provideMerge(Layer.succeed(Logger.LogToStderr, true))
    )
  )
  const context = await settled(runtime.contextEffect)
  return new ClientImpl(runtime, context, options.handleSignals ?? false)
}

/** The success of a check of options, or a thrown `ClientError`. */
const checked = <A>(of: string, body: (check: Check) => A): A =>
  Result.getOrThrowWith(checkOptions(of, body), fromError)

/** The success of an effect, or a thrown `ClientError`. */
const settled = async <A, E>(effect: Effect.Effect<A, E>): Promise<A> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw fromCause(exit.cause)
}

type Services = Registry.Registry | HttpClient.HttpClient

class ClientImpl implements Client {
  readonly #runtime: ManagedRuntime.ManagedRuntime<Services, unknown>
  readonly #context: Context.Context<Services>
  readonly #subscriptions = new Set<() => void>()
  readonly #scope = Scope.makeUnsafe("parallel")
  readonly #closed = Deferred.makeUnsafe<never, ClientError>()
  #closing: Promise<void> | undefined
  readonly fetch: typeof globalThis.fetch

  constructor(
    runtime: ManagedRuntime.ManagedRuntime<Services, unknown>,
    context: Context.Context<Services>,
    handleSignals: boolean
  ) {
    this.#runtime = runtime
    this.#context = context
    const send = makeFetch(runtime)
    // While `close` drains, the requests that the program still serves may need further calls.
    this.fetch = Object.assign(
      (...request: Parameters<typeof send>) =>
        Deferred.isDoneUnsafe(this.#closed) ? Promise.reject(closed()) : send(...request),
      send
    )
    if (!handleSignals) return
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, this.#onSignal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  readonly #onSignal = (signal: keyof typeof signals): void => {
    void this.close().finally(() => process.exit(signals[signal]))
  }

  #run<A, E>(effect: Effect.Effect<A, E, Services>): Promise<A> {
    if (this.#closing !== undefined) return Promise.reject(closed())
    return settled(Effect.provideContext(effect, this.#context))
  }

  /** Runs an effect in the background until the returned function is called, or the client or the scope closes. */
  #start(effect: Effect.Effect<void, unknown, Services>, scope?: Scope.Scope): () => void {
    if (this.#closing !== undefined) throw closed()
    const fiber = Effect.runForkWith(this.#context)(effect)
    if (scope !== undefined) Fiber.runIn(fiber, scope)
    const stop = () => fiber.interruptUnsafe()
    this.#subscriptions.add(stop)
    fiber.addObserver(() => this.#subscriptions.delete(stop))
    return stop
  }

  readonly register = <S extends ServiceLike>(
    service: S,
    options: RegisterOptions<MetadataOf<S>>
  ): Promise<Registration<MetadataOf<S>>> => {
    const converted = checkOptions("register", (check) => {
      const { health, ...rest } = check.object("options", options)
      if (health === undefined) return rest
      check.callback("health", health)
      return {
        ...rest,
        health: Effect.tryPromise({ try: async (signal) => await health(signal), catch: (error) => error })
      }
    })
    const registered = Effect.gen({ self: this }, function* () {
      const all = yield* Effect.fromResult(converted)
      const scope = yield* Scope.fork(this.#scope)
      // The two types of options differ in `health` only, which was converted.
      const registration = yield* registerService(service, all as unknown as EffectOptions<MetadataOf<S>>).pipe(
        Scope.provide(scope),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
      return this.#registrationOf(registration, scope)
    })
    // Closing the scope ends the registration, but does not end the wait for its start.
    return this.#run(Effect.raceFirst(registered, Deferred.await(this.#closed)))
  }

  #registrationOf<M>(registration: EffectRegistration<M>, scope: Scope.Closeable): Registration<M> {
    // Closing a scope that is being closed returns at once, so every caller waits for the first release.
    let released: Promise<void> | undefined
    const release = () => released ??= this.#closing ?? Effect.runPromise(Scope.close(scope, Exit.void))
    const statusOf = (tag: string): Status => tag.toLowerCase() as Status
    return {
      key: registration.key,
      get instance() {
        return registration.instance
      },
      get status() {
        return statusOf(Effect.runSync(registration.status.get)._tag)
      },
      update: (patch) => this.#run(registration.update(patch)),
      drain: () => this.#run(registration.drain),
      release,
      [Symbol.asyncDispose]: release,
      onStatus: (listener) =>
        this.#start(Stream.runForEach(
          Stream.drop(registration.status.changes, 1),
          ({ _tag }) => guarded(() => listener(statusOf(_tag)))
        )),
      onFailure: (listener) =>
        this.#start(
          Effect.catchCause(registration.awaitFailure, (cause) => guarded(() => listener(fromCause(cause)))),
          scope
        )
    }
  }

  readonly instances = <S extends ServiceLike>(service: S): Promise<Instances<MetadataOf<S>>> =>
    this.#run(Effect.map(getInstances(service), fromSet))

  readonly services = (): ReturnType<Client["services"]> => this.#run(listServices())

  readonly subscribe = <S extends ServiceLike>(
    service: S,
    listener: (set: Instances<MetadataOf<S>>) => void,
    onError?: (error: ClientError) => void
  ): () => void =>
    this.#start(
      Stream.runForEach(discover(service), (set) => guarded(() => listener(fromSet(set)))).pipe(
        Effect.catchCause((cause) => {
          const error = fromCause(cause)
          if (error.code === "ABORTED") return Effect.void
          return onError === undefined ? logError(error.message) : guarded(() => onError(error))
        })
      )
    )

  readonly watch = <S extends ServiceLike>(service: S): AsyncIterable<Instances<MetadataOf<S>>> => ({
    [Symbol.asyncIterator]: () => {
      if (this.#closing !== undefined) throw closed()
      const sets = Stream.toAsyncIterableWith(
        discover(service).pipe(
          Stream.mapError(fromError),
          Stream.map(fromSet),
          Stream.ensuring(Effect.sync(() => this.#subscriptions.delete(end)))
        ),
        this.#context
      )[Symbol.asyncIterator]()
      const end = () => void sets.return?.()
      this.#subscriptions.add(end)
      return {
        next: () => sets.next(),
        return: () => {
          // A stream that was never read does not run its finalizer.
          this.#subscriptions.delete(end)
          return sets.return?.() ?? Promise.resolve({ done: true, value: undefined })
        }
      }
    }
  })

  readonly registerGrpcResolver: Client["registerGrpcResolver"] = (grpc, options) =>
    this.#run(Scope.provide(GrpcResolver.register(grpc, options), this.#scope))

  readonly connectTransport = <N extends ConnectTransport.ConnectNode, S extends ServiceLike>(
    connectNode: N,
    options: ConnectTransport.Options<N, S>
  ): Promise<ReturnType<N["createGrpcTransport"]>> =>
    this.#run(Scope.provide(ConnectTransport.make(connectNode, options), this.#scope))

  readonly monitoring: Client["monitoring"] = async (options = {}) => {
    const { ready, ...rest } = checked("monitoring", (check) => {
      const { ready } = check.object("options", options)
      if (ready !== undefined) check.callback("ready", ready)
      return options
    })
    const { webHandler } = await import("../monitoring/Monitoring.ts")
    const isReady = ready && Effect.filterOrFail(
      Effect.tryPromise(async () => await ready()),
      (isReady) => isReady,
      () => "ready() returned false"
    )
    return this.#run(Scope.provide(webHandler({ ...rest, ...(isReady && { ready: isReady }) }), this.#scope))
  }

  readonly close = (): Promise<void> =>
    this.#closing ??= (async () => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, this.#onSignal)
      for (const stop of [...this.#subscriptions]) stop()
      await Effect.runPromise(Scope.close(this.#scope, Exit.void))
      Deferred.doneUnsafe(this.#closed, Exit.fail(closed()))
      await this.#runtime.dispose()
    })()
}

/** Runs a listener of the user. Its exception, or the rejection of an async one, is logged and goes no further. */
const guarded = (listener: () => unknown): Effect.Effect<void> =>
  reported(Effect.suspend(() => {
    const result = listener()
    return Predicate.isPromiseLike(result) ?
      Effect.asVoid(Effect.forkDetach(reported(Effect.promise(() => result)), { startImmediately: true })) :
      Effect.void
  }))

const reported = (run: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.catchDefect(run, (error) => logError("a listener threw", error))
