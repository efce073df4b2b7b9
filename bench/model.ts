/**
 * How the load on etcd grows, measured: what a lease, a renewal, a watcher, an event, a write and a connection cost one
 * etcd here, and whether a fleet's traffic costs what these constants say. `MODEL.md` explains; its tables are written
 * from here.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { EtcdGrpc } from "../src/etcd/mod.ts"
import { runProgram } from "../test/harness/program.ts"
import { root, type RuntimeName } from "../tools/runtimes.ts"
import { instanceValue, keyOf } from "./programs/measure.ts"
import { markdownTable, show } from "./report.ts"
import { type Counters, counters, since, startServer, told } from "./scenario.ts"

/** What a fleet does. */
export interface Fleet {
  /** Client processes: each has one connection with one keepalive stream and one watch stream. */
  readonly processes: number
  /** R: registered instances, one lease each. */
  readonly registrants: number
  /** T, in seconds. */
  readonly ttl: number
  /** C: processes that follow services. */
  readonly consumers: number
  /** S: services that each consumer follows. */
  readonly followed: number
  /** K: services there are. */
  readonly services: number
  /** D: changes per second, of all services together. */
  readonly changes: number
}

/** What it costs one etcd. */
export interface Constants {
  /** Of a server without clients. */
  readonly baseCores: number
  readonly baseMegabytes: number
  readonly microsPerRenewal: number
  readonly bytesPerRenewal: number
  readonly microsPerEvent: number
  readonly bytesPerEvent: number
  readonly microsPerAsk: number
  readonly bytesPerAsk: number
  readonly microsPerWrite: number
  readonly microsPerRegistration: number
  readonly kilobytesPerLease: number
  readonly kilobytesPerWatcher: number
  readonly kilobytesPerConnection: number
}

export interface Load {
  readonly renewals: number
  /** Of watch streams that have heard nothing for ten seconds. */
  readonly asks: number
  /** Messages to etcd: renewals, writes and asks. */
  readonly requests: number
  readonly watchers: number
  readonly events: number
  readonly kilobytesOut: number
  readonly cores: number
  readonly megabytes: number
}

/** The model. All rates are per second. */
export const predict = (fleet: Fleet, is: Constants): Load => {
  const renewals = 3 * fleet.registrants / fleet.ttl
  const followers = fleet.consumers * fleet.followed
  const watchers = followers + fleet.registrants
  // A change is seen by all who follow its service, and by its owner.
  const events = fleet.changes * (followers / fleet.services + 1)
  // A stream asks when no event has come for ten seconds; events come at random, `heard` per stream and second.
  const heard = events / fleet.processes
  const asks = fleet.processes * (heard === 0 ? 1 / 10 : heard / Math.expm1(10 * heard))
  const micros = renewals * is.microsPerRenewal + events * is.microsPerEvent + asks * is.microsPerAsk +
    fleet.changes * is.microsPerWrite
  return {
    renewals,
    asks,
    requests: renewals + fleet.changes + asks,
    watchers,
    events,
    kilobytesOut: (renewals * is.bytesPerRenewal + events * is.bytesPerEvent + asks * is.bytesPerAsk) / 1000,
    cores: is.baseCores + micros / 1e6,
    megabytes: is.baseMegabytes +
      (fleet.registrants * is.kilobytesPerLease + watchers * is.kilobytesPerWatcher +
          fleet.processes * is.kilobytesPerConnection) / 1000
  }
}

/** What some real processes do, each of them the same. */
interface Shape {
  readonly processes: number
  readonly connections: number
  readonly leases: number
  readonly watchers: number
  readonly services: number
  readonly ttl: number
  /** Per second, over all services. */
  readonly changes: number
}

interface Observed {
  /** Before any client came, and with all of them there. */
  readonly idle: Counters
  readonly ready: Counters
  /** Over the window, per second. */
  readonly idleCores: number
  readonly spell: Counters
  readonly seconds: number
  readonly figures: ReadonlyArray<Readonly<Record<string, number>>>
}

/** Runs a shape against an etcd of its own and watches etcd for a while. */
const observe = (
  shape: Shape,
  runtime: RuntimeName,
  smoke: boolean,
  seconds: number
): Effect.Effect<Observed, unknown, Scope.Scope> =>
  Effect.scoped(Effect.gen(function* () {
    const server = yield* startServer(smoke)
    const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
    const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
    const write = (change: number) => {
      const name = `bench${change % shape.services}`
      return etcd.put({ key: keyOf("changing", name), value: instanceValue("changing", String(change), name), lease })
    }
    for (let service = 0; service < shape.services; service++) yield* write(service)
    const before = yield* counters(server)
    const idleMillis = smoke ? 500 : 2000
    yield* Effect.sleep(idleMillis)
    const idle = yield* counters(server)
    const programs = yield* Effect.forEach(Array.from({ length: shape.processes }), (_, number) =>
      runProgram({
        file: new URL("programs/fleet.ts", import.meta.url),
        runtime,
        args: ["ours", server.endpoint, JSON.stringify({ ...shape, number, millis: seconds * 1000 })]
      }))
    yield* Effect.forEach(programs, (program) => program.awaitLine(/^ready$/, 180_000))
    const ready = yield* counters(server)
    yield* Effect.forEach(programs, (program) => program.endInput)
    const startedAt = performance.now()
    for (let change = 0; change < shape.changes * seconds; change++) {
      yield* Effect.sleep(Math.max(0, startedAt + change * 1000 / shape.changes - performance.now()))
      yield* write(change)
    }
    const figures = yield* Effect.forEach(programs, (program) => told(program, seconds * 1000 + 60_000))
    const last = yield* counters(server)
    return {
      idle,
      ready,
      idleCores: since(idle, before).cpuMillis / idleMillis,
      spell: since(last, ready),
      seconds: (performance.now() - startedAt) / 1000,
      figures
    }
  }))

const sum = (figures: Observed["figures"], name: string): number =>
  figures.reduce((total, row) => total + (row[name] ?? 0), 0)

const nothing: Shape = { processes: 1, connections: 1, leases: 0, watchers: 0, services: 1, ttl: 15, changes: 0 }

/** Each constant by itself: what one more of a thing adds. */
const measure = Effect.fnUntraced(function* (
  runtime: RuntimeName,
  smoke: boolean
): Effect.fn.Return<Constants, unknown, Scope.Scope> {
  const [many, seconds] = smoke ? [200, 2] : [5000, 12]
  const connected = many / 20
  const observed = {
    leases: yield* observe({ ...nothing, leases: many, ttl: smoke ? 3 : 15 }, runtime, smoke, seconds),
    watchers: yield* observe({ ...nothing, watchers: many, services: 10, changes: 5 }, runtime, smoke, seconds),
    writes: yield* observe({ ...nothing, changes: 100 }, runtime, smoke, seconds),
    connections: yield* observe({ ...nothing, connections: connected, watchers: connected }, runtime, smoke, seconds)
  }
  const { connections, leases, watchers, writes } = observed
  const baseCores = leases.idleCores
  const microsOf = ({ seconds, spell }: Observed) => 1000 * spell.cpuMillis - baseCores * 1e6 * seconds
  const growth = ({ idle, ready }: Observed) => since(ready, idle)
  const renewals = sum(leases.figures, "renewals")
  const events = sum(watchers.figures, "events")
  // None in the short spell of a smoke run.
  const asks = connected * Math.floor(seconds / 10)
  const microsPerWrite = microsOf(writes) / (100 * seconds)
  const bytesPerWrite = writes.spell.bytesSent / (100 * seconds)
  const kilobytesPerWatcher = growth(watchers).residentBytes / 1000 / many
  return {
    baseCores,
    baseMegabytes: leases.idle.residentBytes / 1e6,
    microsPerRenewal: microsOf(leases) / renewals,
    bytesPerRenewal: leases.spell.bytesSent / renewals,
    microsPerEvent: (microsOf(watchers) - 5 * seconds * microsPerWrite) / events,
    bytesPerEvent: (watchers.spell.bytesSent - 5 * seconds * bytesPerWrite) / events,
    microsPerAsk: asks === 0 ? 0 : Math.max(0, microsOf(connections)) / asks,
    bytesPerAsk: asks === 0 ? 0 : connections.spell.bytesSent / asks,
    microsPerWrite,
    microsPerRegistration: 1000 * growth(leases).cpuMillis / many,
    // A registration watches its own key.
    kilobytesPerLease: growth(leases).residentBytes / 1000 / many - kilobytesPerWatcher,
    kilobytesPerWatcher,
    kilobytesPerConnection: growth(connections).residentBytes / 1000 / connected - kilobytesPerWatcher
  }
})

export interface Model {
  readonly constants: Constants
  readonly fleet: Fleet
  readonly predicted: Load
  readonly measured: Load
  readonly failures: number
  readonly p99Renewal: number
}

/** Measures the constants and then a fleet of 10,000 processes, whose traffic a few make. */
export const model = (runtime: RuntimeName, smoke: boolean): Effect.Effect<Model, unknown> =>
  Effect.scoped(Effect.gen(function* () {
    const constants = yield* measure(runtime, smoke)
    const scale = smoke ? 100 : 10_000
    const processes = smoke ? 1 : 4
    const shape: Shape = {
      processes,
      connections: smoke ? 2 : 50,
      leases: scale / processes,
      watchers: 5 * scale / processes,
      services: smoke ? 10 : 100,
      ttl: 15,
      changes: 5
    }
    const fleet: Fleet = {
      processes: processes * shape.connections,
      registrants: scale,
      ttl: shape.ttl,
      consumers: scale,
      followed: 5,
      services: shape.services,
      changes: shape.changes
    }
    const { figures, ready, seconds, spell } = yield* observe(shape, runtime, smoke, smoke ? 2 : 30)
    return {
      constants,
      fleet,
      predicted: predict(fleet, constants),
      measured: {
        renewals: sum(figures, "renewals") / seconds,
        asks: Number.NaN,
        requests: (spell.heartbeats + spell.unaryCalls) / seconds,
        watchers: ready.watchers,
        events: sum(figures, "events") / seconds,
        kilobytesOut: spell.bytesSent / 1000 / seconds,
        cores: spell.cpuMillis / 1000 / seconds,
        megabytes: (ready.residentBytes + spell.residentBytes) / 1e6
      },
      failures: sum(figures, "failures"),
      p99Renewal: Math.max(...figures.map((row) => row["p99 ms of a renewal"] ?? 0))
    }
  }))

/**
 * How far the simulation may be from what was predicted. CPU and memory are upper bounds: many messages at once cost
 * less each than few, and a collector leaves room.
 */
const tolerance: Readonly<Partial<Record<keyof Load, number>>> = {
  renewals: 0.05,
  watchers: 0.01,
  events: 0.05,
  kilobytesOut: 0.1,
  cores: 0.35,
  megabytes: 0.35
}

/** What the simulation contradicts. */
export const contradictions = ({ failures, measured, predicted }: Model): ReadonlyArray<string> => [
  ...(failures === 0 ? [] : [`model: ${failures} renewals or watches failed`]),
  ...Object.entries(tolerance).flatMap(([name, allowed]) => {
    const [is, was] = [measured[name as keyof Load], predicted[name as keyof Load]]
    const off = name === "cores" || name === "megabytes" ? is / was - 1 : Math.abs(is / was - 1)
    return off <= allowed ? [] : [`model: ${name} is ${show(is)}, predicted was ${show(was)}`]
  })
]

/** Renewals that an etcd is given at most: a tenth of what a cluster is published to serve. */
const renewalBudget = 3000

/** A fleet of so many instances as it is usual: each process serves one and follows some. */
const usual = (registrants: number): Fleet => ({
  processes: registrants,
  registrants,
  ttl: Math.max(15, Math.ceil(3 * registrants / renewalBudget)),
  consumers: registrants,
  followed: 5,
  services: Math.max(5, registrants / 100),
  changes: 2 * registrants / 3600
})

/** The measured parts of `MODEL.md`, by the name of their place in it. */
export const tables = (
  { constants, fleet, measured, p99Renewal, predicted }: Model
): Readonly<Record<string, string>> => ({
  constants: markdownTable([
    ["", "costs one etcd"],
    ["without clients", `${show(constants.baseCores)} cores, ${show(constants.baseMegabytes)} MB`],
    ["registration (grant, Txn, watch of the own key)", `${show(constants.microsPerRegistration)} µs of CPU, once`],
    ["lease with its key", `${show(constants.kilobytesPerLease)} kB`],
    ["renewal", `${show(constants.microsPerRenewal)} µs, ${show(constants.bytesPerRenewal)} bytes out`],
    ["watcher", `${show(constants.kilobytesPerWatcher)} kB`],
    ["event to one watcher", `${show(constants.microsPerEvent)} µs, ${show(constants.bytesPerEvent)} bytes out`],
    [
      "question of a silent watch stream",
      `${show(constants.microsPerAsk)} µs, ${show(constants.bytesPerAsk)} bytes out`
    ],
    ["write of one instance", `${show(constants.microsPerWrite)} µs`],
    ["connection with its watch stream", `${show(constants.kilobytesPerConnection)} kB`]
  ]),
  check: [
    `R = C = ${fleet.registrants}, T = ${fleet.ttl} s, S = ${fleet.followed}, K = ${fleet.services}, D = ${fleet.changes}/s, over ${fleet.processes} connections:`,
    "",
    markdownTable([
      ["", "predicted", "measured", "off by"],
      ...(["renewals", "requests", "watchers", "events", "kilobytesOut", "cores", "megabytes"] as const).map((name) => [
        titles[name],
        show(predicted[name]),
        show(measured[name]),
        `${(100 * (measured[name] / predicted[name] - 1)).toFixed(0)} %`
      ])
    ]),
    "",
    `The slowest one in a hundred renewals took ${show(p99Renewal)} ms.`
  ].join("\n"),
  operator: markdownTable([
    [
      "R",
      "TTL at least",
      "renewals/s",
      "RPC/s",
      "watchers",
      "events/s",
      "MB/s out",
      "cores",
      "MB of memory",
      "MB read when all start"
    ],
    ...[100, 1000, 5000, 10_000, 50_000, 100_000].map((registrants) => {
      const one = usual(registrants)
      const load = predict(one, constants)
      const read = one.consumers * one.followed * (registrants / one.services) * constants.bytesPerEvent / 1e6
      return [
        registrants.toLocaleString("en"),
        `${one.ttl} s`,
        show(load.renewals),
        show(load.requests),
        load.watchers.toLocaleString("en"),
        show(load.events),
        show(load.kilobytesOut / 1000),
        show(load.cores),
        show(load.megabytes),
        show(read)
      ]
    })
  ])
})

const titles: Readonly<Record<keyof Load, string>> = {
  renewals: "renewals/s",
  asks: "questions/s",
  requests: "messages to etcd/s",
  watchers: "watchers",
  events: "events/s",
  kilobytesOut: "kB/s from etcd",
  cores: "cores of etcd",
  megabytes: "resident MB of etcd"
}

/** Puts the tables into their places. */
export const writeModel = (measured: Model, where: ReadonlyArray<string>): void => {
  const file = join(root, "bench", "MODEL.md")
  let text = readFileSync(file, "utf8")
  for (
    const [name, content] of Object.entries({
      ...tables(measured),
      where: where.map((line) => `- ${line}`).join("\n")
    })
  ) {
    const place = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`)
    if (!place.test(text)) throw new Error(`MODEL.md has no place for ${name}`)
    text = text.replace(place, (_, begin: string, end: string) => `${begin}\n${content}\n${end}`)
  }
  writeFileSync(file, text)
}
