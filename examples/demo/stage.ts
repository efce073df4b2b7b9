/**
 * A stage for the demo: an etcd to connect to, and processes that can be killed.
 *
 * @module
 */
import { Deferred, Effect, Exit, Fiber, Layer, References, Scope } from "effect"
import {
  type InvalidOption,
  registerService,
  type Registration,
  type RegistrationError,
  type RegistrationPolicy,
  Registry
} from "../../mod.ts"
import { Etcd, type EtcdError, EtcdMemory } from "../../src/etcd/mod.ts"

export interface Stage {
  /** A short description of the etcd. */
  readonly place: string
  /** The prefix of all keys. */
  readonly namespace: string
  /** Opens a client of the etcd. */
  readonly connect: Effect.Effect<Etcd, EtcdError.EtcdError, Scope.Scope>
  /** Starts a process that registers an instance; completes once it is registered. */
  readonly spawn: (instance: Instance) => Effect.Effect<Killable, Error, Scope.Scope>
}

export interface Killable {
  /** How `kill` kills it, as text. */
  readonly how: string
  readonly kill: Effect.Effect<void>
}

export interface Instance {
  readonly id: string
  readonly endpoint: string
  readonly zone: string
  readonly version: string
}

export const service = "shop"
/** A short TTL that a real etcd still grants unchanged. */
export const ttlSeconds = 6

/** Registers an instance of the demo for the lifetime of the scope. */
export const register = (
  { endpoint, id, version, zone }: Instance,
  policy: RegistrationPolicy = {}
): Effect.Effect<Registration, RegistrationError, Registry.Registry | Scope.Scope> =>
  registerService(service, {
    id,
    endpoints: [endpoint],
    version,
    zone,
    ttl: `${ttlSeconds} seconds`,
    drain: "1 second",
    ...policy
  })

/** A registry over one client. */
export const registryOf = (etcd: Etcd, namespace: string): Layer.Layer<Registry.Registry, InvalidOption> =>
  Layer.provide(Registry.layer({ namespace }), Layer.succeed(Etcd, etcd))

const namespace = "/services"

/** The embedded engine. Several clients of one engine behave like several processes on a server. */
export const embedded: Effect.Effect<Stage, never, Scope.Scope> = Effect.map(EtcdMemory.engine(), (engine) => ({
  place: "the embedded engine: in this process, no server",
  namespace,
  connect: engine.connect,
  spawn: Effect.fnUntraced(function* (instance): Effect.fn.Return<Killable, Error, Scope.Scope> {
    const connection = yield* Scope.fork(yield* Effect.scope)
    const etcd = yield* Scope.provide(engine.connect, connection)
    const registered = yield* Deferred.make<void, Error>()
    const process = yield* register(instance, { releaseTimeout: "1 milli" }).pipe(
      Effect.andThen(Deferred.succeed(registered, undefined)),
      Effect.andThen(Effect.never),
      Effect.scoped,
      Effect.provide(registryOf(etcd, namespace)),
      Effect.catch((error) => Deferred.fail(registered, error)),
      // A killed process logs nothing.
      Effect.provideService(References.MinimumLogLevel, "None"),
      Effect.forkScoped
    )
    yield* Deferred.await(registered)
    return {
      how: "its connection is closed without a release",
      // Close the connection first, so that the release does not reach the engine.
      kill: Effect.andThen(Scope.close(connection, Exit.void), Fiber.interrupt(process))
    }
  })
}))
