/**
 * Instances that come and leave under load: no call may fail while an instance drains.
 *
 * @module
 */
import { type Duration, Effect, Exit, Fiber, References, Scope } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { eventually, pause } from "../harness/real.ts"

interface Server {
  readonly endpoint: string
}

/** A client whose calls must not fail while instances come and leave. */
export interface ChurnClient {
  readonly name: string
  readonly serve: (id: string) => Effect.Effect<Server, Error, Scope.Scope>
  readonly make: Effect.Effect<Effect.Effect<string, unknown>, unknown, Registry.Registry | Scope.Scope>
}

interface ChurnOptions<E, R> {
  /** Starts a server that responds with its id. It stops when the scope closes. */
  readonly serve: (id: string) => Effect.Effect<Server, E, Scope.Scope>
  /** One call. Returns the id of the instance that responded. */
  readonly call: Effect.Effect<string, unknown, R>
  /** How many instances come and leave. */
  readonly rounds: number
  readonly drain: Duration.Input
}

/** The number of calls in flight. */
const width = 20

/**
 * Three instances under load. In each round a new one starts. As soon as it has responded, the oldest one drains,
 * leaves and stops.
 *
 * **Details**
 *
 * A server stops once all calls have ended that were in flight when its registration ended. A later call that reaches it
 * fails if the server closes its connections at once, as those of Effect RPC do. A gRPC server lets its calls end.
 */
const churn = <E, R>({ call, drain, rounds, serve }: ChurnOptions<E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const counts = new Map<string, number>()
    const failures: Array<string> = []
    let isOver = false

    let begun = 0
    const inFlight = new Set<number>()
    const callsInFlight = Effect.suspend(() => {
      const calls = [...inFlight]
      return eventually(Effect.suspend(() => {
        const left = calls.filter((call) => inFlight.has(call)).length
        return left === 0 ? Effect.void : Effect.fail(`${left} calls are in flight`)
      }))
    })

    /** Serves and registers. `leave` ends the registration first, then the server. */
    const join = (id: string) =>
      Effect.gen(function* () {
        const [serving, registered] = [yield* Scope.fork(scope), yield* Scope.fork(scope)]
        const { endpoint } = yield* serve(id).pipe(Scope.provide(serving))
        yield* registerService("orders", { id, endpoints: [endpoint], drain }).pipe(Scope.provide(registered))
        return {
          leave: Effect.gen(function* () {
            yield* Scope.close(registered, Exit.void)
            // Twice: a call may have begun before the client received the end of the registration.
            yield* callsInFlight
            yield* callsInFlight
            yield* Scope.close(serving, Exit.void)
          })
        }
      })
    const awaitCalls = (id: string, count: number) =>
      eventually(Effect.suspend(() =>
        (counts.get(id) ?? 0) >= count ?
          Effect.void :
          Effect.fail(`${id} has not responded; ${failures.length} failures`)
      ))

    const instances = [yield* join("i0"), yield* join("i1"), yield* join("i2")]
    const one = Effect.suspend(() => {
      const number = ++begun
      inFlight.add(number)
      return Effect.match(call, {
        onSuccess: (id) =>
          void counts.set(id, (counts.get(id) ?? 0) + 1),
        onFailure: (error) => void failures.push(error instanceof Error ? error.message : String(error))
      }).pipe(Effect.ensuring(Effect.sync(() => inFlight.delete(number))))
    })
    const worker = Effect.whileLoop({
      while: () => !isOver,
      body: () => Effect.andThen(one, pause(2)),
      step: () => {}
    })
    const workers = yield* Effect.forkScoped(
      Effect.all(Array.from({ length: width }, () => worker), { concurrency: width, discard: true })
    )
    for (const id of ["i0", "i1", "i2"]) yield* awaitCalls(id, 1)
    for (let round = 0; round < rounds; round++) {
      const id = `i${round + 3}`
      instances.push(yield* join(id))
      yield* awaitCalls(id, 20)
      yield* instances.shift()?.leave ?? Effect.void
    }
    isOver = true
    yield* Fiber.join(workers)
    assert.deepEqual(failures, [])
    assert.equal(counts.size, rounds + 3)
    return counts
  }) satisfies Effect.Effect<unknown, unknown, R | Registry.Registry | Scope.Scope>

/** Declares a test of each client: three instances come, drain and stop, on a registry in memory. */
export const describeChurn = (title: string, clients: ReadonlyArray<ChurnClient>): void =>
  void describe(title, () => {
    for (const { make, name, serve } of clients) {
      live(`${name} loses no call while instances come, drain and stop`, () =>
        Effect.flatMap(make, (call) =>
          churn({ serve, call, rounds: 3, drain: "200 millis" })).pipe(
            Effect.asVoid,
            Effect.provide(Registry.layerMemory()),
            Effect.provideService(References.MinimumLogLevel, "Error")
          ))
    }
  })

/** Declares a test of each client: twenty instances come, drain and stop, on etcd. */
export const describeChurnOnEtcd = (title: string, clients: ReadonlyArray<ChurnClient>): void =>
  void describe(title, () => {
    for (const { make, name, serve } of clients) {
      live(`${name} loses no call while twenty instances come, drain and stop`, () =>
        Effect.gen(function* () {
          const etcd = yield* startEtcd()
          const counts = yield* Effect.flatMap(
            make,
            (call) => churn({ serve, call, rounds: 20, drain: "500 millis" })
          ).pipe(
            Effect.scoped,
            Effect.provide(Registry.layerEtcd({ endpoints: [etcd.endpoint] })),
            Effect.provideService(References.MinimumLogLevel, "Error")
          )
          const calls = [...counts.values()].reduce((sum, count) => sum + count, 0)
          console.log(`${calls} calls, no failure`)
        }))
    }
  })
