/**
 * The etcd of a scenario: existing instances, the benchmark's own writes, and etcd's counters.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { readFileSync } from "node:fs"
import type { Etcd, EtcdError, LeaseId } from "../src/etcd/mod.ts"
import { type EtcdServer, startEtcd } from "../test/harness/EtcdServer.ts"
import { instanceValue, keyOf, now } from "./programs/measure.ts"

/** A server with etcd's default timers. The tests use shorter ones, so an idle server would not be idle. */
export const startServer = (smoke: boolean): Effect.Effect<EtcdServer, Error, Scope.Scope> =>
  startEtcd(smoke ? {} : { args: ["--heartbeat-interval", "100", "--election-timeout", "1000"] })

const chunks = <A>(all: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size))

/** Puts instances with typed metadata under one lease, in Txns. */
export const fill = Effect.fnUntraced(function* (
  etcd: Etcd,
  instances: number,
  services?: number
): Effect.fn.Return<LeaseId, EtcdError.EtcdError> {
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
  const names = services === undefined ? ["bench"] : Array.from({ length: services }, (_, index) => `bench${index}`)
  const all = names.flatMap((name) => Array.from({ length: instances }, (_, index) => ({ name, id: `i${index}` })))
  const operationsPerTxn = 125
  yield* Effect.forEach(chunks(all, operationsPerTxn), (some) =>
    etcd.txn({
      then: some.map(({ id, name }) => ({
        _tag: "Put",
        request: { key: keyOf(id, name), value: instanceValue(id, "", true, name), lease }
      }))
    }), { concurrency: 4, discard: true })
  return lease
})

/**
 * Writes `i0` repeatedly between the marks `start` and `end`. Each write has the time of writing as its mark. `started`
 * waits until the contender has the first mark, which a slow one would otherwise see only together with later ones.
 */
export const writeMarks = Effect.fnUntraced(function* <E>(
  etcd: Etcd,
  { changes, everyMillis, started }: {
    readonly changes: number
    readonly everyMillis: number
    readonly started: Effect.Effect<unknown, E>
  }
): Effect.fn.Return<void, EtcdError.EtcdError | E> {
  const key = keyOf("i0")
  const { kvs } = yield* etcd.range({ key })
  const put = (mark: string) => etcd.put({ key, value: instanceValue("i0", mark, true), lease: kvs[0]?.lease ?? 0n })
  yield* put("start")
  yield* started
  const startedAt = performance.now()
  for (let change = 0; change < changes; change++) {
    yield* Effect.sleep(Math.max(0, startedAt + change * everyMillis - performance.now()))
    yield* put(String(now()))
  }
  yield* Effect.sleep("200 millis")
  yield* put("end")
})

/** etcd's counters at one moment. */
export interface Counters {
  /** Of the server's process. */
  readonly cpuMillis: number
  readonly residentBytes: number
  /** Client connections. NaN except on Linux. */
  readonly connections: number
  /** Unary calls started so far. */
  readonly unaryCalls: number
  readonly ranges: number
  /** Open now. */
  readonly keepAliveStreams: number
  readonly watchStreams: number
  readonly watchers: number
  /** Heartbeats received so far. */
  readonly heartbeats: number
  /** Messages to clients, as encoded. */
  readonly bytesSent: number
}

/** Reads etcd's counters over a listener of its own. */
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

/** The increase of each counter. */
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

/** Established connections to a local port, counted on the listening side. */
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
