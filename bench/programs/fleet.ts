/**
 * A few real clients that make the traffic of many: connections, leases that are renewed three times in their time to
 * live, and watches. `model.ts` starts some of these and changes what they watch.
 */
import { Deferred, Effect, Random, Stream } from "effect"
import { type Etcd, EtcdGrpc, type KeyRange, prefix } from "../../src/etcd/mod.ts"
import { awaitGo, cpu, instanceValue, keyOf, prefixOf, quantile, readArguments, report } from "./measure.ts"

const { endpoint, parameters } = readArguments<
  "number" | "connections" | "leases" | "watchers" | "services" | "ttl" | "millis"
>()
const { leases, number, services, ttl } = parameters

let renewals = 0
let events = 0
let failures = 0
let trips: Array<number> = []

/** What a registration makes etcd do: a grant, a Txn, a watch of the own key, and heartbeats at moments of its own. */
const keepLease = Effect.fnUntraced(function* (etcd: Etcd, index: number) {
  const name = `bench${index % services}`
  const id = `p${number}-${index}`
  const { id: lease } = yield* etcd.leaseGrant({ ttl })
  yield* etcd.txn({
    compare: [{ target: "create", key: keyOf(id, name), result: "equal", value: 0n }],
    then: [{ _tag: "Put", request: { key: keyOf(id, name), value: instanceValue(id, "", name), lease } }]
  })
  yield* watch(etcd, { key: keyOf(id, name) })
  const every = ttl * 1000 / 3
  const renew = Effect.gen(function* () {
    const from = performance.now()
    yield* etcd.leaseKeepAlive({ id: lease })
    trips.push(performance.now() - from)
    renewals += 1
  })
  yield* Effect.forkScoped(
    Effect.andThen(
      Effect.flatMap(Random.next, (phase) => Effect.sleep(phase * every)),
      Effect.forever(Effect.andThen(
        Effect.catch(renew, () => Effect.sync(() => void (failures += 1))),
        Effect.sleep(every)
      ))
    )
  )
})

/** Watches until the end, and completes once etcd has created the watch. */
const watch = Effect.fnUntraced(function* (etcd: Etcd, range: KeyRange) {
  const created = yield* Deferred.make<void>()
  yield* Stream.runForEach(etcd.watch({ ...range, progressTimeout: "30 seconds" }), (response) => {
    if (response._tag === "Events") events += response.events.length
    return response._tag === "Created" ? Deferred.succeed(created, undefined) : Effect.void
  }).pipe(
    Effect.catch(() => Effect.sync(() => void (failures += 1))),
    Effect.forkScoped
  )
  yield* Deferred.await(created)
})

/** Follows a service as `discover` does, without reading it first. */
const follow = (etcd: Etcd, index: number) => watch(etcd, prefix(prefixOf(`bench${index % services}`)))

const main = Effect.gen(function* () {
  const etcds = yield* Effect.forEach(
    Array.from({ length: parameters.connections }),
    () => EtcdGrpc.make({ endpoints: [endpoint], dialTimeout: "30 seconds", requestTimeout: "30 seconds" }),
    { concurrency: 10 }
  )
  const share = <A, E, R>(count: number, run: (etcd: Etcd, index: number) => Effect.Effect<A, E, R>) =>
    Effect.forEach(
      etcds,
      (etcd, first) =>
        Effect.forEach(
          Array.from({ length: Math.ceil((count - first) / etcds.length) }, (_, index) => first + index * etcds.length),
          (index) => run(etcd, index),
          { concurrency: 20, discard: true }
        ),
      { concurrency: 10, discard: true }
    )
  yield* share(leases, keepLease)
  yield* share(parameters.watchers, follow)
  yield* Effect.promise(awaitGo)
  renewals = events = failures = 0
  trips = []
  const cpuBefore = cpu()
  yield* Effect.sleep(parameters.millis)
  report({
    "renewals": renewals,
    "events": events,
    "failures": failures,
    "p99 ms of a renewal": quantile(trips, 0.99),
    "CPU ms": (cpu() - cpuBefore) / 1000
  })
  yield* Effect.never
})

await Effect.runPromise(Effect.scoped(main))
