/**
 * The embedded engine's speed and memory: `deno run -A bench/engine.ts`, `bun bench/engine.ts`, `node bench/engine.ts`.
 *
 * Numbers are medians on the machine at hand. What should hold anywhere are the ratios: a put costs the same however
 * many keys and unrelated watches there are. Memory is measured where the runtime lets us collect garbage
 * (`--v8-flags=--expose-gc`, `--expose-gc`; Bun always).
 *
 * @module
 */
import { Clock, Effect, Fiber, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type Etcd, type KeyRange, prefix, rangeAll } from "../src/etcd/Etcd.ts"
import type { EtcdError } from "../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../src/etcd/memory/EtcdMemory.ts"
import process from "node:process"

const few = 1_000
const many = 100_000
const repetitions = 3

const print = (what: string, value: number, unit: string): void =>
  console.log(`${what.padEnd(68)} ${value.toFixed(value < 10 ? 2 : 0).padStart(8)} ${unit}`)

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((self, that) => self - that)[values.length >> 1] ?? NaN

/** Milliseconds an effect takes. */
const time = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, () => performance.now() - start)
  })

/** The median time of a measurement that starts afresh each time. */
const repeat = <E>(measurement: Effect.Effect<number, E, Scope.Scope>): Effect.Effect<number, E> =>
  Effect.map(
    Effect.forEach(Array.from({ length: repetitions }), () => Effect.scoped(measurement)),
    median
  )

const keyOf = (i: number): string => `/services/orders/${String(i).padStart(6, "0")}`

const valueOf = (i: number): string =>
  JSON.stringify({ id: `orders-${i}`, endpoints: ["http://10.0.0.5:8080"], zone: "a", weight: 1 })

const value = valueOf(0)

const putMany = Effect.fnUntraced(function* (etcd: Etcd, count: number, first = 0) {
  for (let i = first; i < first + count; i++) yield* etcd.put({ key: keyOf(i), value: valueOf(i) })
})

/** Nanoseconds of a put of an existing and of a new key, in a store of so many keys. */
const putCost = (keys: number): Effect.Effect<readonly [existing: number, fresh: number], EtcdError> =>
  Effect.gen(function* () {
    const costs = yield* Effect.forEach(
      Array.from({ length: repetitions }),
      () =>
        Effect.scoped(Effect.gen(function* () {
          const etcd = yield* EtcdMemory.make()
          yield* putMany(etcd, keys)
          const existing = yield* time(Effect.gen(function* () {
            for (let i = 0; i < 10_000; i++) yield* etcd.put({ key: keyOf((i * 7_919) % keys), value })
          }))
          const fresh = yield* time(Effect.gen(function* () {
            for (let i = 0; i < 10_000; i++) yield* etcd.put({ key: `${keyOf((i * 7_919) % keys)}/${i}`, value })
          }))
          return [existing * 100, fresh * 100] as const
        }))
    )
    return [median(costs.map(([existing]) => existing)), median(costs.map(([, fresh]) => fresh))]
  })

/** Nanoseconds of a put that concerns one watch of a prefix, with so many others around. */
const putCostAmongWatches = (watches: number, requestOf: (i: number) => KeyRange) =>
  repeat(Effect.gen(function* () {
    const etcd = yield* EtcdMemory.make()
    for (let i = 0; i < watches; i++) {
      const pull = yield* Stream.toPull(etcd.watch({ ...requestOf(i), progressEvery: "1 hour" }))
      yield* pull
    }
    const pull = yield* Stream.toPull(etcd.watch(prefix("/services/orders/")))
    yield* pull
    const took = yield* time(Effect.gen(function* () {
      for (let i = 0; i < 10_000; i++) {
        yield* etcd.put({ key: keyOf(i % 100), value })
        yield* pull
      }
    }))
    return took * 100
  }))

const unrelatedPrefix = (i: number) => prefix(`/services/unrelated-${String(i).padStart(6, "0")}/`)
const nestedRange = (i: number) => ({ key: `/services/nested/${String(i).padStart(6, "0")}`, rangeEnd: "/services/o" })
const unrelatedKey = (i: number) => ({ key: `/services/unrelated/${i}` })

const watched = repeat(Effect.gen(function* () {
  const etcd = yield* EtcdMemory.make()
  const reader = yield* Effect.forkScoped(
    etcd.watch(prefix("/services/")).pipe(
      Stream.filter(({ _tag }) => _tag === "Events"),
      Stream.take(many),
      Stream.runDrain
    ),
    { startImmediately: true }
  )
  return yield* time(Effect.andThen(putMany(etcd, many), Fiber.join(reader)))
}))

const leases = (phase: "grant" | "renew" | "expire") =>
  repeat(Effect.gen(function* () {
    const clock = yield* TestClock.make()
    const etcd = yield* Effect.provideService(EtcdMemory.make(), Clock.Clock, clock)
    const ids: Array<bigint> = []
    const grant = yield* time(Effect.gen(function* () {
      for (let i = 0; i < 10_000; i++) {
        const { id } = yield* etcd.leaseGrant({ ttl: 10 + i % 50 })
        yield* etcd.put({ key: keyOf(i), value, lease: id })
        ids.push(id)
      }
    }))
    const renew = yield* time(Effect.gen(function* () {
      for (const id of ids) yield* etcd.leaseKeepAlive({ id })
    }))
    const expire = yield* time(clock.adjust("1 minute"))
    return { grant, renew, expire }[phase]
  }))

const ranges = (read: (etcd: Etcd) => Effect.Effect<unknown, EtcdError>) =>
  repeat(Effect.gen(function* () {
    const etcd = yield* EtcdMemory.make()
    yield* putMany(etcd, many)
    return yield* time(read(etcd))
  }))

/** Collects garbage, where the runtime lets us. */
const collect: (() => void) | undefined = "Bun" in globalThis ?
  () => Reflect.get(Reflect.get(globalThis, "Bun"), "gc")(true) :
  Reflect.get(globalThis, "gc")

const memoryPerKey = (writes: number) =>
  repeat(Effect.gen(function* () {
    collect?.()
    const before = process.memoryUsage().heapUsed
    const etcd = yield* EtcdMemory.make()
    for (let i = 0; i < writes; i++) yield* putMany(etcd, many)
    collect?.()
    return (process.memoryUsage().heapUsed - before) / many
  }))

const main = Effect.gen(function* () {
  print("100,000 puts, one watch that reads them all", yield* watched, "ms")
  print("10,000 leases: grant each, put a key with it", yield* leases("grant"), "ms")
  print("10,000 leases: renew each", yield* leases("renew"), "ms")
  print("10,000 leases: run out within a minute", yield* leases("expire"), "ms")
  print("100,000 keys: one range", yield* ranges((etcd) => etcd.range(prefix("/services/"))), "ms")
  print("100,000 keys: rangeAll, in pages", yield* ranges((etcd) => rangeAll(etcd, prefix("/services/"))), "ms")

  if (collect === undefined) console.log("memory per key is not measured: this runtime hides its garbage collector")
  else {
    print("100,000 keys: memory for each, with a value of " + value.length + " bytes", yield* memoryPerKey(1), "bytes")
    print("100,000 keys, written 3 times: memory for each", yield* memoryPerKey(3), "bytes")
  }

  const [fewExisting, fewFresh] = yield* putCost(few)
  const [manyExisting, manyFresh] = yield* putCost(many)
  print("put of an existing key among 1,000", fewExisting, "ns")
  print("  … among 100,000, compared with that", manyExisting / fewExisting, "×")
  print("put of a new key among 1,000", fewFresh, "ns")
  print("  … among 100,000, compared with that", manyFresh / fewFresh, "×")

  const kinds = [
    ["of other keys", unrelatedKey],
    ["of other prefixes", unrelatedPrefix],
    ["of ranges with one end", nestedRange]
  ] as const
  for (const [kind, requestOf] of kinds) {
    const among = yield* putCostAmongWatches(few, requestOf)
    print(`put, and its event read, among 1,000 watches ${kind}`, among, "ns")
    print("  … among 100,000, compared with that", (yield* putCostAmongWatches(many, requestOf)) / among, "×")
  }
})

await Effect.runPromise(main)
