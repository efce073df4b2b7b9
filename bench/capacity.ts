/**
 * The model of `docs/capacity.md`: the load of a fleet of processes on one etcd.
 *
 *     deno run -A bench/capacity.ts                the tables of docs/capacity.md
 *     deno run -A bench/capacity.ts --simulate     the traffic of 10,000 processes against a real etcd, beside the model
 *
 * @module
 */
import { Effect } from "effect"
import process from "node:process"
import { EtcdGrpc } from "../src/etcd/mod.ts"
import { runProgram } from "../test/harness/program.ts"
import { counters, since, startServer } from "./etcd.ts"
import { show } from "./figures.ts"
import { type Arguments, instanceValue, keyOf } from "./programs/measure.ts"
import { markdownTable } from "./report.ts"
import { figuresOf } from "./turn.ts"

export interface Fleet {
  /** P: each process has one connection with one keepalive stream and one watch stream. */
  readonly processes: number
  /** R: registered instances. */
  readonly instances: number
  /** `"own"`: a lease for each instance; `"shared"`: one for each process. */
  readonly lease: "own" | "shared"
  /** T, in seconds. */
  readonly ttl: number
  /** C: processes that follow services. */
  readonly consumers: number
  /** S: services that each consumer follows. */
  readonly followed: number
  /** K: all services. */
  readonly services: number
  /** D: changes per second, of all services together. */
  readonly changes: number
}

/** The cost of one unit of each kind for one etcd. Measured on 2 × AMD EPYC with etcd 3.5.30 on 2026-11-26. */
export const constants = {
  baseCores: 0.005,
  baseMegabytes: 32.2,
  microsPerRenewal: 146,
  bytesPerRenewal: 41.1,
  microsPerEvent: 8.26,
  bytesPerEvent: 305,
  /** One progress request on a silent watch stream. */
  microsPerProgress: 160,
  bytesPerProgress: 38,
  microsPerWrite: 725,
  /** A lease with its key. */
  kilobytesPerInstance: 5.21,
  kilobytesPerWatcher: 0.918,
  kilobytesPerConnection: 76.2
}

export interface Load {
  readonly renewals: number
  /** Messages to etcd: renewals, writes and progress requests. */
  readonly requests: number
  readonly watchers: number
  readonly events: number
  readonly kilobytesOut: number
  readonly cores: number
  readonly megabytes: number
}

/** All rates are per second. */
export const predict = (fleet: Fleet, is: typeof constants = constants): Load => {
  const renewals = 3 * (fleet.lease === "own" ? fleet.instances : fleet.processes) / fleet.ttl
  const followers = fleet.consumers * fleet.followed
  const watchers = followers + fleet.instances
  // A change reaches all consumers of its service, and its owner.
  const events = fleet.changes * (followers / fleet.services + 1)
  // A stream requests progress after ten seconds without an event; events come at random.
  const eventsPerStream = events / fleet.processes
  const progress = fleet.processes * (eventsPerStream === 0 ? 0.1 : eventsPerStream / Math.expm1(10 * eventsPerStream))
  const micros = renewals * is.microsPerRenewal + events * is.microsPerEvent + progress * is.microsPerProgress +
    fleet.changes * is.microsPerWrite
  return {
    renewals,
    requests: renewals + fleet.changes + progress,
    watchers,
    events,
    kilobytesOut: (renewals * is.bytesPerRenewal + events * is.bytesPerEvent + progress * is.bytesPerProgress) / 1000,
    cores: is.baseCores + micros / 1e6,
    megabytes: is.baseMegabytes +
      (fleet.instances * is.kilobytesPerInstance + watchers * is.kilobytesPerWatcher +
          fleet.processes * is.kilobytesPerConnection) / 1000
  }
}

/** The maximum renewals per second for an etcd: a tenth of the published capacity of a cluster. */
const renewalBudget = 3000

/**
 * A typical fleet: services of 100 instances, five followed services per process, and two changes per instance and
 * hour.
 */
const usual = (instances: number, perProcess: number): Fleet => {
  const processes = instances / perProcess
  const lease = perProcess === 1 ? "own" : "shared"
  return {
    processes,
    instances,
    lease,
    ttl: Math.max(15, Math.ceil(3 * (lease === "own" ? instances : processes) / renewalBudget)),
    consumers: processes,
    followed: 5,
    services: Math.max(5, instances / 100),
    changes: 2 * instances / 3600
  }
}

const columns: Readonly<Record<keyof Load, string>> = {
  renewals: "renewals/s",
  requests: "messages to etcd/s",
  watchers: "watchers",
  events: "events/s",
  kilobytesOut: "kB/s from etcd",
  cores: "cores of etcd",
  megabytes: "MB of memory"
}
const names = Object.keys(columns) as ReadonlyArray<keyof Load>

const operatorTable = (perProcess: number): string =>
  markdownTable([
    ["R", "TTL at least", ...names.map((name) => columns[name]), "MB read when all start"],
    ...[100, 1000, 5000, 10_000, 50_000, 100_000].map((instances) => {
      const fleet = usual(instances, perProcess)
      const load = predict(fleet)
      const read = fleet.consumers * fleet.followed * instances / fleet.services * constants.bytesPerEvent / 1e6
      return [
        instances.toLocaleString("en"),
        `${fleet.ttl} s`,
        ...names.map((name) => show(load[name])),
        show(read)
      ]
    })
  ])

/** Four processes generate the traffic of 10,000 for 30 s: their leases, watchers and changes, on 200 connections. */
const simulate = Effect.gen(function* () {
  const [programs, seconds, changes] = [4, 30, 5]
  const fleet: Fleet = { ...usual(10_000, 1), processes: programs * 50, changes }
  const server = yield* startServer(false)
  const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
  const running = yield* Effect.forEach(Array.from({ length: programs }), (_, number) =>
    runProgram({
      file: new URL("programs/fleet.ts", import.meta.url),
      args: [JSON.stringify(
        {
          file: "",
          endpoint: server.endpoint,
          typed: false,
          parameters: {
            number,
            connections: fleet.processes / programs,
            leases: fleet.instances / programs,
            watchers: fleet.consumers * fleet.followed / programs,
            services: fleet.services,
            ttl: fleet.ttl,
            millis: seconds * 1000
          }
        } satisfies Arguments
      )]
    }))
  yield* Effect.forEach(running, (program) => program.awaitLine(/^ready$/, 180_000))
  const ready = yield* counters(server)
  yield* Effect.forEach(running, (program) => program.endInput)
  const startedAt = performance.now()
  for (let change = 0; change < changes * seconds; change++) {
    yield* Effect.sleep(Math.max(0, startedAt + change * 1000 / changes - performance.now()))
    const name = `bench${change % fleet.services}`
    yield* etcd.put({ key: keyOf("changing", name), value: instanceValue("changing", "", false, name), lease })
  }
  const figures = yield* Effect.forEach(running, figuresOf)
  const grown = since(yield* counters(server), ready)
  const sum = (name: string) => figures.reduce((total, each) => total + (each[name] ?? 0), 0)
  const measured: Load = {
    renewals: sum("renewals") / seconds,
    requests: (grown.heartbeats + grown.unaryCalls) / seconds,
    watchers: ready.watchers,
    events: sum("events") / seconds,
    kilobytesOut: grown.bytesSent / 1000 / seconds,
    cores: grown.cpuMillis / 1000 / seconds,
    megabytes: (ready.residentBytes + grown.residentBytes) / 1e6
  }
  const predicted = predict(fleet)
  return markdownTable([
    ["", "predicted", "measured"],
    ...names.map((name) => [columns[name], show(predicted[name]), show(measured[name])]),
    ["failed calls", "0", show(sum("failures"))]
  ])
}).pipe(Effect.scoped)

if (import.meta.main) {
  if (process.argv.includes("--simulate")) {
    console.log(await Effect.runPromise(simulate))
    process.exit(0)
  }
  for (const perProcess of [1, 10]) console.log(`\n${perProcess} for each process:\n\n${operatorTable(perProcess)}`)
}
