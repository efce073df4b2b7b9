/**
 * The process that is soaked: 200 registrations of 100 services and 200 subscriptions to them. On SIGUSR2 it waits until
 * everything is registered and every set is live and right, and prints what is alive.
 */
import { census, fiberMetrics } from "./counted.ts"
import { Effect, Logger, Metric, Queue, type Scope, Stream } from "effect"
import process from "node:process"
import { discover, registerService, Registry } from "../../mod.ts"
import type { InstanceSet } from "../../src/registry/model/InstanceSet.ts"

const [endpoint = ""] = process.argv.slice(2)
const services = Array.from({ length: 100 }, (_, index) => `service-${index}`)
const copies = ["a", "b"]

const isRight = (set: InstanceSet): boolean =>
  set.freshness._tag === "Live" && set.size === copies.length && copies.every((id) => set.has(id))

const soaked = Effect.gen(function* (): Effect.fn.Return<void, unknown, Registry.Registry | Scope.Scope> {
  const asked = yield* Queue.unbounded<void>()
  process.on("SIGUSR2", () => Queue.offerUnsafe(asked, undefined))
  const registrations = yield* Effect.forEach(
    services.flatMap((name) => copies.map((id) => ({ name, id, endpoints: ["http://10.0.0.1:80"] }))),
    ({ name, ...options }) => registerService(name, options),
    { concurrency: 50 }
  )
  const newest = new Map<string, InstanceSet>()
  yield* Effect.forEach(
    services.flatMap((name) => ["1", "2"].map((subscriber) => ({ name, subscriber }))),
    ({ name, subscriber }) =>
      discover(name).pipe(
        Stream.runForEach((set) => Effect.sync(() => newest.set(`${name} ${subscriber}`, set))),
        Effect.forkScoped
      )
  )
  const wrong = Effect.gen(function* () {
    const statuses = yield* Effect.forEach(
      registrations,
      ({ key, status }) => Effect.map(status.get, ({ _tag }) => _tag === "Registered" ? [] : [`${key} is ${_tag}`])
    )
    const sets = Array.from(newest).flatMap(([name, set]) =>
      isRight(set) ? [] : [`${name} is ${set.freshness._tag} with ${set.size}`]
    )
    return [...statuses.flat(), ...sets, ...(newest.size === 200 ? [] : [`${newest.size} subscriptions`])]
  })
  console.log("ready")
  while (true) {
    yield* Queue.take(asked)
    let left = yield* wrong
    const patience = Date.now() + 60_000
    while (left.length > 0 && Date.now() < patience) {
      yield* Effect.sleep("100 millis")
      left = yield* wrong
    }
    console.log(left.length === 0 ? `census ${JSON.stringify(census())}` : `wrong ${left.slice(0, 5).join("; ")}`)
  }
})

await soaked.pipe(
  Effect.scoped,
  Effect.provide(
    Registry.layerEtcd({
      endpoints: [endpoint],
      ttl: "5 seconds",
      dialTimeout: "1 second",
      requestTimeout: "1 second",
      progressEvery: "2 seconds",
      progressTimeout: "1 second"
    })
  ),
  Effect.provide(Logger.layer([])),
  Effect.provideService(Metric.FiberRuntimeMetrics, fiberMetrics),
  Effect.runPromise
)
