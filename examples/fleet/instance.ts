/**
 * An instance of the fleet: an HTTP server, its registration, and ways to make it fail.
 *
 * @module
 */
import { Effect, Exit, Layer, Scope } from "effect"
import { registerService, Registry } from "../../mod.ts"
import { Etcd } from "../../src/etcd/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { serve } from "./server.ts"

/** The response of a service of the fleet. */
export interface Definition {
  readonly name: string
  readonly respond: (id: string, path: string) => Promise<string>
}

export interface Instance {
  readonly id: string
  readonly service: string
  readonly url: string
  /** Drains for two seconds, leaves etcd, and ends the server, as a process does on SIGTERM. */
  readonly stop: Effect.Effect<void>
  /** Ends the server and the heartbeats without notice, as SIGKILL does. The lease expires. */
  readonly kill: Effect.Effect<void>
  /** Whether the server accepts requests without responding, so that the health check fails. */
  readonly setHanging: (isHanging: boolean) => void
}

/**
 * Starts an instance. It runs until `stop` or `kill`, and stops with the scope.
 *
 * Each instance has its own etcd client, as a process does, so that `kill` can disconnect it.
 */
export const start = Effect.fnUntraced(function* ({ name, respond }: Definition, number: number) {
  const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent))
  const id = `${name}-${number}`
  const { etcd, faults } = yield* FaultyEtcd.make(yield* Etcd)
  const server = yield* Scope.provide(serve((path) => respond(id, path)), scope)
  const registry = yield* Layer.buildWithScope(Layer.provide(Registry.layer(), Layer.succeed(Etcd, etcd)), scope)
  yield* registerService(name, {
    id,
    endpoints: [server.url],
    zone: `zone-${number % 2 === 0 ? "b" : "a"}`,
    version: "1.0.0",
    ttl: "5 seconds",
    drain: "2 seconds",
    releaseTimeout: "1 second",
    health: Effect.tryPromise((signal) => fetch(`${server.url}/health`, { signal })),
    healthEvery: "1 second"
  }).pipe(Effect.provide(registry), Scope.provide(scope))
  return {
    id,
    service: name,
    url: server.url,
    stop: Scope.close(scope, Exit.void),
    // First disconnect its etcd, so that closing the scope cannot remove the key.
    kill: server.kill.pipe(Effect.andThen(faults.outage), Effect.andThen(Scope.close(scope, Exit.void))),
    setHanging: server.setHanging
  } satisfies Instance
})
