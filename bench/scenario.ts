/**
 * What a scenario of the benchmark is, and what scenarios share: instances that are there before, the benchmark's own
 * writes, and what etcd says about itself.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { readFileSync } from "node:fs"
import type { Etcd, EtcdError, LeaseId } from "../src/etcd/mod.ts"
import { type EtcdServer, startEtcd } from "../test/harness/EtcdServer.ts"
import type { Program } from "../test/harness/program.ts"
import { instanceValue, keyOf, now } from "./programs/measure.ts"

/** Numbers by what they are; the unit is part of the name. */
export type Figures = Readonly<Record<string, number>>

/** `go-` programs are Go's, and have no runtime of ours. */
export type Contender = "ours" | "raw" | "naive" | "go-clientv3" | "go-kit"

/** What one of our figures must reach. The median is held to it, on each runtime. */
export type Limit =
  & { readonly figure: string }
  & (
    | { readonly atMost: number }
    /** True on every machine, so also checked in a smoke run: in each round. */
    | { readonly exactly: number }
  )
  & {
    /** What the median is divided by: a rival, or ourselves in another scenario. Default: the figure itself counts. */
    readonly comparedWith?: { readonly contender: Contender } | { readonly scenario: string }
  }

/** One contender's turn. */
export interface Turn {
  readonly contender: Contender
  readonly program: Program
  readonly server: EtcdServer
  readonly etcd: Etcd
  /** What etcd had counted before the program started. */
  readonly before: Counters
}

export type Drive = (turn: Turn) => Effect.Effect<Figures, unknown, Scope.Scope>

/** What the program has measured itself, once it tells. */
export const told = (program: Program, limit = 60_000): Effect.Effect<Figures, Error> =>
  Effect.map(program.awaitLine(/^figures /, limit), (line) => {
    const figures: Readonly<Record<string, number | null>> = JSON.parse(line.slice("figures ".length))
    // JSON has no NaN: what could not be measured is left out.
    return Object.fromEntries(Object.entries(figures).flatMap(([name, value]) => value === null ? [] : [[name, value]]))
  })

/** A program, who takes part, what is done to it from outside, and what must come out. */
export interface Scenario {
  /** The family, and the size behind a dash when there are several. */
  readonly name: string
  readonly about: string
  /** In `programs/`, and in `go/` for Go's contenders. */
  readonly program: string
  /** Ours first; the second is what it is printed in relation to. */
  readonly contenders: ReadonlyArray<Contender>
  /** What the program is told. */
  readonly parameters: Figures
  /** Instances that are in etcd before, put once for all turns: of the service `bench`, or of each of `bench0` … */
  readonly instances?: number
  readonly services?: number
  /** At most so many alternations; default: as many as asked for. */
  readonly rounds?: number
  /** `"one"` (the default) for all turns; `"each"` for each turn; `"together"`: each, and all turns at the same time. */
  readonly servers?: "one" | "each" | "together"
  /** Works on the program from outside, and adds what only etcd can tell. Default: waits for the program's figures. */
  readonly drive?: Drive
  readonly limits: ReadonlyArray<Limit>
  /** The figures that are drawn; default: the first. */
  readonly drawn?: ReadonlyArray<string>
}

/** A server with etcd's own timers, not the quick ones of the tests: an idle server must be idle. */
export const startServer = (smoke: boolean): Effect.Effect<EtcdServer, Error, Scope.Scope> =>
  startEtcd(smoke ? {} : { args: ["--heartbeat-interval", "100", "--election-timeout", "1000"] })

/** Puts what a scenario wants to be there, under one lease; as many operations to a Txn as etcd allows. */
export const fill = Effect.fnUntraced(function* (
  etcd: Etcd,
  { instances = 0, services }: Pick<Scenario, "instances" | "services">
): Effect.fn.Return<LeaseId, EtcdError.EtcdError> {
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
  const names = services === undefined ? ["bench"] : Array.from({ length: services }, (_, index) => `bench${index}`)
  const all = names.flatMap((name) => Array.from({ length: instances }, (_, index) => ({ name, id: `i${index}` })))
  yield* Effect.forEach(
    chunks(all, 125),
    (some) =>
      etcd.txn({
        then: some.map(({ id, name }) => ({
          _tag: "Put",
          request: { key: keyOf(id, name), value: instanceValue(id, "", name), lease }
        }))
      }),
    { concurrency: 4, discard: true }
  )
  return lease
})

export const chunks = <A>(all: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size))

/** Writes `i0` of a service again and again, each time with the moment of writing as its mark; the last mark tells how many. */
export const writeMarks = Effect.fnUntraced(function* (
  etcd: Etcd,
  { changes, every, name = "bench" }: { readonly changes: number; readonly every: number; readonly name?: string }
): Effect.fn.Return<void, EtcdError.EtcdError> {
  const { kvs } = yield* etcd.range({ key: keyOf("i0", name) })
  const put = (mark: string) =>
    etcd.put({ key: keyOf("i0", name), value: instanceValue("i0", mark, name), lease: kvs[0]?.lease ?? 0n })
  const pause = Effect.sleep("200 millis")
  yield* put("start")
  yield* pause
  const startedAt = performance.now()
  for (let change = 0; change < changes; change++) {
    yield* Effect.sleep(Math.max(0, startedAt + change * every - performance.now()))
    yield* put(String(now()))
  }
  yield* pause
  yield* put(`end ${changes}`)
})

/** What etcd counts, at one moment. */
export interface Counters {
  /** Of the server's process. */
  readonly cpuMillis: number
  readonly residentBytes: number
  /** Connections of clients; not a number outside of Linux. */
  readonly connections: number
  /** Calls with one answer that were ever started. */
  readonly unaryCalls: number
  readonly ranges: number
  /** Open now. */
  readonly keepAliveStreams: number
  readonly watchStreams: number
  readonly watchers: number
  /** Heartbeats that were ever received. */
  readonly heartbeats: number
  /** Messages to clients, as encoded. */
  readonly bytesSent: number
}

/** Reads what etcd counts, over a listener of its own. */
export const counters = (server: EtcdServer): Effect.Effect<Counters, Error> =>
  Effect.map(server.metrics, (text) => {
    const sum = (name: string, label = "") =>
      text.split("\n")
        .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && line.includes(label))
        .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(" ") + 1)), 0)
    const started = (label: string) => sum("grpc_server_started_total", label)
    const open = (method: string) =>
      started(`grpc_method="${method}"`) - sum("grpc_server_handled_total", `grpc_method="${method}"`)
    return {
      cpuMillis: 1000 * sum("process_cpu_seconds_total"),
      residentBytes: sum("process_resident_memory_bytes"),
      connections: connectionsTo(Number(new URL(server.endpoint).port)),
      unaryCalls: started('grpc_type="unary"'),
      ranges: started('grpc_method="Range"'),
      keepAliveStreams: open("LeaseKeepAlive"),
      watchStreams: open("Watch"),
      watchers: sum("etcd_debugging_mvcc_watcher_total"),
      heartbeats: sum("grpc_server_msg_received_total", 'grpc_method="LeaseKeepAlive"'),
      bytesSent: sum("etcd_network_client_grpc_sent_bytes_total")
    }
  })

export const since = (after: Counters, before: Counters): Counters => ({
  cpuMillis: after.cpuMillis - before.cpuMillis,
  residentBytes: after.residentBytes - before.residentBytes,
  connections: after.connections - before.connections,
  unaryCalls: after.unaryCalls - before.unaryCalls,
  ranges: after.ranges - before.ranges,
  keepAliveStreams: after.keepAliveStreams - before.keepAliveStreams,
  watchStreams: after.watchStreams - before.watchStreams,
  watchers: after.watchers - before.watchers,
  heartbeats: after.heartbeats - before.heartbeats,
  bytesSent: after.bytesSent - before.bytesSent
})

/** Established connections to a local port, counted at the listening side. */
const connectionsTo = (port: number): number => {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`
  try {
    return readFileSync("/proc/net/tcp", "utf8").split("\n").filter((line) => {
      const [, address = "", , state] = line.trim().split(/\s+/)
      return address.endsWith(local) && state === "01"
    }).length
  } catch {
    return Number.NaN
  }
}
