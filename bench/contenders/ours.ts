/** This library: its public functions with their defaults. */
import { Effect, Exit, Layer, Option, Schema, Scope, Stream } from "effect"
import { discover, registerService, Registry, Service } from "../../mod.ts"
import { metadata, options, service } from "../programs/measure.ts"
import type { Client, Connect } from "./Contender.ts"

const typedService = Service.make(service, {
  metadata: Schema.Struct({
    mark: Schema.String,
    region: Schema.String,
    build: Schema.String,
    shard: Schema.Int,
    load: Schema.Finite
  })
})

export const connect: Connect = async ({ endpoint, sharedLease = false, ttl, typed }) => {
  const scope = Effect.runSync(Scope.make())
  const layer = Registry.layerEtcd({ endpoints: endpoint.split(",") })
  const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))

  const clientOf = <M>(
    service: Service.Service<M>,
    register: (id: string) => Effect.Effect<unknown, unknown, Registry.Registry | Scope.Scope>,
    markOf: (metadata: M) => string | undefined
  ): Client => {
    const registrations = Effect.runSync(Scope.fork(scope))
    const run = <A, E>(effect: Effect.Effect<A, E, Registry.Registry | Scope.Scope>): Promise<A> =>
      Effect.runPromiseWith(context)(Scope.provide(effect, registrations))
    return {
      register: (id) => run(register(id)),
      registerAll: (ids) => run(Effect.forEach(ids, register, { concurrency: "unbounded", discard: true })),
      releaseAll: () => Effect.runPromise(Scope.close(registrations, Exit.void)),
      firstSet: () => run(Effect.map(Stream.runHead(discover(service)), (set) => Option.getOrThrow(set).size)),
      follow: (onMark) =>
        run(Stream.runForEach(discover(service), (set) =>
          Effect.sync(() => {
            const first = Option.getOrUndefined(set.get("i0"))
            if (first !== undefined) onMark(markOf(first.metadata) ?? "")
          })))
    }
  }
  const policy = {
    ...options,
    ttl: `${ttl} seconds`,
    startupTimeout: "60 seconds",
    lease: sharedLease ? "shared" : "own"
  } as const
  const stringService = Service.make(service)
  return typed ?
    clientOf(
      typedService,
      (id) => registerService(typedService, { ...policy, id, metadata: metadata.typed }),
      ({ mark }) => mark
    ) :
    clientOf(
      stringService,
      (id) => registerService(stringService, { ...policy, id, metadata: metadata.strings }),
      ({ mark }) => mark
    )
}
