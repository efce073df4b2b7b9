/** etcd fails and returns: with its data, without its data, or as one member of three. */
import { Effect, Fiber, Stream } from "effect"
import { EtcdGrpc, prefix } from "../../src/etcd/mod.ts"
import type { EtcdServer } from "../../test/harness/EtcdServer.ts"
import type { Program } from "../../test/harness/program.ts"
import { fingerprint, instanceValue, keyOf, now, prefixOf, quantile } from "../programs/measure.ts"
import { type Contender, type Drive, type Figures, ours, type Scenario } from "../scenario.ts"
import { randomOf } from "../../test/harness/seed.ts"

/**
 * The times (milliseconds since the epoch) at which the consumer printed a matching live set, starting at line `nth`.
 */
const setSeen = Effect.fnUntraced(function* (
  program: Program,
  matches: (set: { readonly ids: string; readonly mark: string }) => boolean,
  after: number
) {
  const line = yield* program.awaitLine((text) => {
    const [word, freshness, at, ids = "", mark = ""] = text.split(" ")
    return word === "set" && freshness === "Live" && Number(at) > after && matches({ ids, mark })
  }, 30_000)
  return Number(line.split(" ")[2])
})

const summary = (what: string, millis: ReadonlyArray<number>): Figures => ({
  [`p50 ms until ${what}`]: quantile(millis, 0.5),
  [`p99 ms until ${what}`]: quantile(millis, 0.99)
})

/** Calls until etcd answers. Returns the time of its first answer. */
const firstAnswer = <E>(call: Effect.Effect<unknown, E>): Effect.Effect<number> =>
  Effect.gen(function* () {
    while (yield* Effect.isFailure(call)) yield* Effect.sleep("2 millis")
    return now()
  })

const mark = (index: number): string => `mark-${index}`
const putMark = (index: number, lease: bigint) => ({
  key: keyOf("i0"),
  value: instanceValue("i0", mark(index), false),
  lease
})

/** Starts a stopped server without waiting for its health probe, which is slower than a first answer. */
const restart = (server: EtcdServer) => server.launch

/** Outages of random length. etcd keeps its data, and a change is written at its first answer. */
const outages = (count: number, longestMillis: number): Drive =>
  Effect.fnUntraced(function* ({ etcd, program, server }) {
    const random = randomOf(1)
    const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
    yield* setSeen(program, () => true, 0)
    const millis: Array<number> = []
    for (let outage = 0; outage < count; outage++) {
      yield* server.kill("SIGKILL")
      yield* Effect.sleep(200 + random() * longestMillis)
      yield* restart(server)
      const answered = yield* firstAnswer(etcd.put(putMark(outage, lease)))
      millis.push(Math.max(0, (yield* setSeen(program, (set) => set.mark === mark(outage), 0)) - answered))
      yield* server.healthy
    }
    return summary("the first change is seen", millis)
  })

/** etcd returns without its data; other instances are written at its first answer. */
const wipes = (count: number): Drive =>
  Effect.fnUntraced(function* ({ etcd, program, server }) {
    yield* setSeen(program, () => true, 0)
    const millis: Array<number> = []
    for (let wipe = 0; wipe < count; wipe++) {
      yield* server.stop
      yield* server.wipe
      yield* Effect.sleep("1 second")
      yield* restart(server)
      yield* firstAnswer(etcd.range({ key: "/first" }))
      const ids = Array.from({ length: 10 }, (_, index) => `w${wipe}-${index}`)
      const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
      yield* etcd.txn({
        then: ids.map((id) => ({
          _tag: "Put",
          request: { key: keyOf(id), value: instanceValue(id, "", false), lease }
        }))
      })
      const written = now()
      millis.push(Math.max(0, (yield* setSeen(program, (set) => set.ids === fingerprint(ids), 0)) - written))
      yield* server.healthy
    }
    return summary("the set is right", millis)
  })

/** etcd returns without its data, so all registrations return, too. */
const registrations = (count: number, downMillis: number): Drive =>
  Effect.fnUntraced(function* ({ etcd, program, server }) {
    const range = prefix(prefixOf())
    yield* program.awaitLine(/^settled$/, 60_000)
    yield* server.stop
    yield* server.wipe
    yield* Effect.sleep(downMillis)
    yield* restart(server)
    const answered = yield* firstAnswer(etcd.range({ key: "/first" }))
    const back: Array<number> = []
    const watching = yield* etcd.watch({ ...range, startRevision: 1n }).pipe(
      Stream.takeUntil((response) => {
        if (response._tag === "Events") back.push(...response.events.map(() => now() - answered))
        return back.length >= count
      }),
      Stream.runDrain,
      Effect.timeout("30 seconds"),
      Effect.forkScoped
    )
    yield* Fiber.join(watching)
    const slices = new Map<number, number>()
    for (const millis of back) {
      const slice = Math.floor(millis / 100)
      slices.set(slice, (slices.get(slice) ?? 0) + 1)
    }
    return {
      "ms until all are back": Math.max(...back),
      "ms until half are back": quantile(back, 0.5),
      "largest share of 100 ms": Math.max(...slices.values()) / count
    }
  })

/** One of three members is killed, another one each time; a change is written through the others. */
const member = (count: number): Drive =>
  Effect.fnUntraced(function* ({ cluster, program }) {
    if (cluster === undefined) return {}
    yield* setSeen(program, () => true, 0)
    const millis: Array<number> = []
    for (let kill = 0; kill < count; kill++) {
      const victim = cluster.members[kill % 3]
      if (victim === undefined) continue
      const others = cluster.members.filter((server) => server !== victim).map(({ endpoint }) => endpoint)
      yield* Effect.scoped(Effect.gen(function* () {
        const etcd = yield* EtcdGrpc.make({ endpoints: others })
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
        yield* victim.kill("SIGKILL")
        const committed = yield* firstAnswer(etcd.put(putMark(kill, lease)))
        millis.push(Math.max(0, (yield* setSeen(program, (set) => set.mark === mark(kill), 0)) - committed))
      }))
      yield* victim.start
      yield* Effect.sleep("1 second")
    }
    return summary("the next change is seen", millis)
  })

const contender: Contender = { ...ours, rounds: 1 }

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const many = smoke ? 100 : 1000
  return [
    {
      name: "outages",
      about: `etcd is killed ${smoke ? 2 : 20} times, for 0.2 to 3 s; a change is written at its first answer`,
      program: "follow",
      contenders: [contender],
      servers: "each",
      turnLimitMillis: 240_000,
      drive: smoke ? outages(2, 300) : outages(20, 2800),
      limits: [
        { figure: "p50 ms until the first change is seen", atMost: 100 },
        { figure: "p99 ms until the first change is seen", atMost: 300 }
      ]
    },
    {
      name: "wipes",
      about: "etcd comes back without its data, and other instances are written at its first answer",
      program: "follow",
      contenders: [contender],
      servers: "each",
      turnLimitMillis: 120_000,
      drive: wipes(smoke ? 1 : 5),
      limits: [{ figure: "p50 ms until the set is right", atMost: 150 }]
    },
    {
      name: "all-come-back",
      about: `${many} registrations whose etcd comes back without its data after ${smoke ? 1 : 3} s`,
      program: "heartbeats",
      contenders: [{ ...ours, rounds: 3 }],
      parameters: { count: many, settleMillis: 1000, millis: 600_000 },
      servers: "each",
      drive: registrations(many, smoke ? 1000 : 3000),
      limits: [
        { figure: "ms until all are back", atMost: 2000 },
        { figure: "largest share of 100 ms", atMost: 0.3 }
      ]
    },
    ...(smoke ? [] : [{
      name: "member-killed",
      about: "a member of three is killed six times; the next change is committed by the others",
      program: "follow",
      contenders: [contender],
      servers: "cluster" as const,
      turnLimitMillis: 120_000,
      drive: member(6),
      limits: [{ figure: "p99 ms until the next change is seen", atMost: 300 }]
    }])
  ]
}
