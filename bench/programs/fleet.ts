/** Generates the traffic of many processes on some connections: renewed leases and watches. `capacity.ts` starts it. */
import { Deferred, Effect, Random, Stream } from "effect"
import { type Etcd, EtcdGrpc, type KeyRange, prefix } from "../../src/etcd/mod.ts"
import { awaitGo, instanceValue, keyOf, parameter, prefixOf, readArguments, report } from "./measure.ts"

const { endpoint } = readArguments()
const [number, services, ttl] = [parameter("number"), parameter("services"), parameter("ttl")]

let renewals = 0
let events = 0
let failures = 0

/** The operations of a registration in etcd: a grant, a Txn, a watch of its own key, and heartbeats. */
const keepLease = Effect.fnUntraced(function* (etcd: Etcd, index: number) {
  const name = `bench${index % services}`
  const id = `p${number}-${index}`
  const { id: lease } = yield* etcd.leaseGrant({ ttl })
  yield* etcd.txn({
    compare: [{ target: "create", key: keyOf(id, name), result: "equal", value: 0n }],
    then: [{ _tag: "Put", request: { key: keyOf(id, name), value: instanceValue(id, "", false, name), lease } }]
  })
  yield* watch(etcd, { key: keyOf(id, name) })
  const every = ttl * 1000 / 3
  const renew = Effect.gen(function* () {
    yield* etcd.leaseKeepAlive({ id: lease })
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

/** Watches until the end. Completes once etcd has created the watch. */
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

/** Follows a service as `discover` does, but does not read it first. */
const follow = (etcd: Etcd, index: number) => watch(etcd, prefix(prefixOf(`bench${index % services}`)))

const main = Effect.gen(function* () {
  const etcds = yield* Effect.forEach(
    Array.from({ length: parameter("connections") }),
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
  yield* share(parameter("leases"), keepLease)
  yield* share(parameter("watchers"), follow)
  yield* Effect.promise(awaitGo)
  renewals = events = failures = 0
  yield* Effect.sleep(parameter("millis"))
  report({ renewals, events, failures })
  yield* Effect.never
})

await Effect.runPromise(Effect.scoped(main))
