/**
 * What sets cost in CPU, without etcd and without a network: a decoded instance, a set after one change, and going through a
 * set. Ours is `discover` over an `Etcd` that hands out events as fast as they are taken; the rival is `JSON.parse` and
 * a Map that is changed in place.
 */
import { Effect, Option, Queue, Result, Stream } from "effect"
import { discover, type InstanceSet, Registry, Service } from "../../mod.ts"
import { Etcd, type KeyValue, type WatchResponse } from "../../src/etcd/mod.ts"
import { cpu, instanceValue, keyOf, type Parsed, readArguments, report, service } from "./measure.ts"

const { parameters: { instances: count, updates }, who } = readArguments<"instances" | "updates">()
const encoder = new TextEncoder()
const decoder = new TextDecoder()
/** Instances that are touched by a measurement of something that costs nanoseconds. */
const touched = 100_000
const rounds = Math.ceil(touched / count)

const value = (index: number, mark: string): Uint8Array => encoder.encode(instanceValue(`i${index}`, mark))
const kvOf = (index: number, revision: bigint, mark: string): KeyValue => ({
  key: encoder.encode(keyOf(`i${index}`)),
  value: value(index, mark),
  createRevision: 1n,
  modRevision: revision,
  version: revision,
  lease: 7n
})
const header = (revision: bigint) => ({ clusterId: 1n, memberId: 1n, revision, raftTerm: 1n })
const change = (update: number): KeyValue => kvOf(update % count, BigInt(update + 2), String(update))

/** Nanoseconds of CPU, which others on the machine do not change, for each of `times` steps. */
const nanos = (times: number, steps: () => void): number => {
  const before = cpu()
  steps()
  return (cpu() - before) * 1000 / times
}

/** Nanoseconds of decoding one instance, after a warm-up. */
const decoding = (decode: (bytes: Uint8Array, id: string) => unknown): number => {
  const ids = Array.from({ length: 1000 }, (_, index) => `i${index}`)
  const values = ids.map((_, index) => value(index, ""))
  const all = () => values.forEach((bytes, index) => decode(bytes, ids[index] ?? ""))
  for (let round = 0; round < 20; round++) all()
  return nanos(20_000, () => {
    for (let round = 0; round < 20; round++) all()
  })
}

/** Nanoseconds of each instance that is gone through. */
const iterating = (instances: Iterable<{ readonly id: string }>): number => {
  let length = 0
  const all = () => {
    for (let round = 0; round < rounds; round++) for (const { id } of instances) length += id.length
  }
  all()
  const cost = nanos(rounds * count, all)
  if (length === 0) throw new Error("nothing was gone through")
  return cost
}

/** Nanoseconds of looking one up by its id. */
const looking = (get: (id: string) => unknown): number => {
  const ids = Array.from({ length: count }, (_, index) => `i${index}`)
  let found = 0
  const all = () => {
    for (let round = 0; round < rounds; round++) for (const id of ids) if (get(id) !== undefined) found += 1
  }
  all()
  const cost = nanos(rounds * count, all)
  if (found !== 2 * rounds * count) throw new Error("some were not found")
  return cost
}

const raw = (): void => {
  const decode = (bytes: Uint8Array): Parsed => JSON.parse(decoder.decode(bytes))
  const instances = new Map<string, Parsed>()
  for (let index = 0; index < count; index++) instances.set(`i${index}`, decode(value(index, "")))
  const update = (first: number) =>
    nanos(updates, () => {
      for (let step = first; step < first + updates; step++) {
        const { key, value } = change(step)
        instances.set(decoder.decode(key).slice(`/services/${service}/`.length), decode(value))
      }
    })
  update(0)
  report({
    "ns per decoded instance": decoding(decode),
    "ns per change": update(updates),
    "ns per instance gone through": iterating({ [Symbol.iterator]: () => instances.values() }),
    "ns to find one": looking((id) => instances.get(id))
  })
}

const ours = Effect.gen(function* () {
  const responses = yield* Queue.unbounded<WatchResponse>()
  const unused = () => Effect.die(new Error("not used here"))
  const etcd: Etcd = {
    range: ({ key, limit = 0 }) =>
      Effect.sync(() => {
        // The key of a later page is that of the last one and a zero byte.
        const first = Number(/\/i(\d+)\0$/.exec(decoder.decode(encoded(key)))?.[1] ?? -1) + 1
        const last = Math.min(count, limit === 0 ? count : first + limit)
        const kvs = Array.from({ length: last - first }, (_, index) => kvOf(first + index, 1n, ""))
        return { header: header(1n), kvs, more: last < count, count: BigInt(count) }
      }),
    watch: () => Stream.concat(Stream.make({ _tag: "Created", header: header(1n) }), Stream.fromQueue(responses)),
    put: unused,
    deleteRange: unused,
    txn: unused,
    leaseGrant: unused,
    leaseRevoke: unused,
    leaseTimeToLive: unused,
    leaseLeases: Effect.die(new Error("not used here")),
    leaseKeepAlive: unused,
    compact: unused,
    status: Effect.die(new Error("not used here"))
  }
  const { codec } = Service.make(service)
  let cpuBefore = 0
  let step = -1
  /** Each set asks for the next change: what is measured is one change at a time, all the way. */
  const last: InstanceSet.InstanceSet = yield* discover(service).pipe(
    Stream.tap(() => {
      step += 1
      if (step === updates) cpuBefore = cpu()
      if (step >= 2 * updates) return Effect.void
      const kv = change(step)
      return Queue.offer(responses, { _tag: "Events", header: header(kv.modRevision), events: [{ type: "put", kv }] })
    }),
    Stream.takeUntil(() => step >= 2 * updates),
    Stream.runLast,
    Effect.map(Option.getOrThrow),
    Effect.provide(Registry.layer()),
    Effect.provideService(Etcd, etcd)
  )
  const perChange = (cpu() - cpuBefore) * 1000 / updates
  if (last.size !== count) throw new Error(`${last.size} instances instead of ${count}`)
  const firstTime = nanos(count, () => void last.instances)
  report({
    "ns per decoded instance": decoding((bytes, id) => Result.getOrThrow(codec.decode(service, id, bytes))),
    "ns per change": perChange,
    "ns per instance gone through": iterating(last),
    "ns to find one": looking((id) => Option.getOrUndefined(last.get(id))),
    // A short array is built faster than the clock ticks.
    ...(count < 1000 ? {} : { "ns per instance, first array": firstTime })
  })
})

const encoded = (bytes: string | Uint8Array): Uint8Array => typeof bytes === "string" ? encoder.encode(bytes) : bytes

await (who === "ours" ? Effect.runPromise(ours) : raw())
