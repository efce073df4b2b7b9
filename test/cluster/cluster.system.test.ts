// Runners in processes of their own, etcd with three members, faults, and a judge that reads etcd's history.
import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { type EtcdCluster, startCluster } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { type Program, runProgram } from "../harness/program.ts"
import { makeProxy } from "../harness/Proxy.ts"
import { eventually, pause } from "../harness/real.ts"
import { versions } from "../harness/versions.ts"
import { historyOf, judge } from "./history.ts"
import { prefix, settings } from "./programs/settings.ts"

const program = new URL("programs/runner.ts", import.meta.url)
const [newest] = versions
const version = newest === undefined ? {} : { version: newest }

/** Milliseconds. */
const expiration = 9000
const refresh = 3000

/** The extra time that moving shards may take on a busy machine. */
const slack = 10_000

interface Stage {
  readonly cluster: EtcdCluster
  readonly etcd: Etcd
  readonly start: (
    port: number,
    mode: "guarded" | "unguarded" | "unfenced",
    storage?: string
  ) => Effect.Effect<Program, Error, Scope.Scope>
  /** Waits until these runners, and only these, own all shards and run them. */
  readonly settled: (...ports: ReadonlyArray<number>) => Effect.Effect<void, Error>
  readonly verdict: Effect.Effect<ReturnType<typeof judge>, unknown>
}

const decoder = new TextDecoder()

const stage: Effect.Effect<Stage, Error, Scope.Scope> = Effect.gen(function* () {
  const cluster = yield* startCluster(3, version)
  const endpoints = cluster.endpoints.join()
  const etcd = yield* Effect.orDie(EtcdGrpc.make({ endpoints: [...cluster.endpoints] }))
  const owners = Effect.gen(function* () {
    const { header, kvs } = yield* etcd.range(prefixRange(`${prefix}locks/`))
    const written = yield* etcd.range(prefixRange("/written/"))
    const running = new Set(
      written.kvs.filter(({ modRevision }) => modRevision + 300n > header.revision).map(({ value }) =>
        decoder.decode(value)
      )
    )
    return {
      locks: kvs.map(({ value }) => decoder.decode(value)),
      running,
      layout: kvs.map(({ key, modRevision }) => `${decoder.decode(key)}@${modRevision}`).join()
    }
  })
  const settledOnce = (ports: ReadonlyArray<number>) =>
    Effect.gen(function* () {
      const { layout, locks, running } = yield* owners
      const wanted = ports.map((port) => `localhost:${port}`).sort()
      const found = [...new Set(locks)].sort()
      const isSettled = locks.length === settings.shardsPerGroup && found.join() === wanted.join() &&
        wanted.every((address) => running.has(address))
      if (!isSettled) return yield* Effect.fail(new Error(`${locks.length} locks of ${found}; ${[...running]} write`))
      return layout
    })
  return {
    cluster,
    etcd,
    start: (port, mode, storage = endpoints) =>
      runProgram({ file: program, args: [storage, endpoints, String(port), mode] }),
    settled: (...ports) =>
      Effect.asVoid(eventually(
        Effect.gen(function* () {
          const layout = yield* settledOnce(ports)
          // Sharding still moves shards for a while after the last runner has come.
          yield* pause(2000)
          if ((yield* settledOnce(ports)) !== layout) return yield* Effect.fail(new Error("shards still move"))
        }),
        { limit: expiration + slack, every: 100 }
      )),
    verdict: Effect.map(historyOf(etcd), (events) => judge(prefix, events))
  }
})

/** The lines since a time in which runners report that they stopped running a shard. */
const stopsSince = (programs: ReadonlyArray<Program>) =>
  Effect.gen(function* () {
    const before = yield* Effect.forEach(programs, ({ lines }) => Effect.map(lines, ({ length }) => length))
    return Effect.map(
      Effect.forEach(programs, ({ lines }, index) =>
        Effect.map(lines, (all) => all.slice(before[index]).map(({ text }) => text))),
      (lines) =>
        lines.flat().filter((text) => text.startsWith("stopped") || text.includes("unhealthy"))
    )
  })

/** Waits until there is a line. */
const some = (lines: Effect.Effect<ReadonlyArray<string>>) =>
  eventually(Effect.filterOrFail(lines, ({ length }) => length > 0, () => new Error("no shard was stopped")))

describe("Effect Cluster on EtcdRunnerStorage", () => {
  live(
    "EtcdRunnerStorage moves the shards of runners that are stopped or killed, with one owner at a time",
    () =>
      Effect.gen(function* () {
        const { settled, start, verdict } = yield* stage
        const one = yield* start(1, "unguarded")
        const two = yield* start(2, "unguarded")
        yield* start(3, "unguarded")
        yield* settled(1, 2, 3)
        yield* one.endInput
        yield* one.awaitLine("ended")
        yield* settled(2, 3)
        yield* two.signal("SIGKILL")
        yield* settled(3)
        yield* start(4, "unguarded")
        yield* settled(3, 4)
        const { violations, writers } = yield* verdict
        assert.deepEqual(violations, [])
        assert.equal(Object.keys(writers).length, settings.shardsPerGroup)
      })
  )

  live(
    "EtcdRunnerStorage stops no shard while etcd elects a leader, and has one owner at a time when etcd restarts",
    () =>
      Effect.gen(function* () {
        const { cluster, settled, start, verdict } = yield* stage
        const programs = yield* Effect.forEach([1, 2, 3], (port) => start(port, "unguarded"))
        yield* settled(1, 2, 3)
        const before = (yield* verdict).moves
        const stops = yield* stopsSince(programs)
        for (let election = 0; election < 3; election++) {
          const leader = yield* cluster.leader
          yield* leader.kill("SIGKILL")
          const next = yield* cluster.leader
          assert.notEqual(next.name, leader.name)
          yield* pause(refresh)
          yield* leader.start
        }
        yield* pause(refresh)
        assert.deepEqual(yield* stops, [])
        assert.equal((yield* verdict).moves, before)

        // All members at once, so there is no etcd meanwhile.
        yield* Effect.forEach(cluster.members, (member) => member.kill("SIGKILL"), { concurrency: 3 })
        yield* pause(2 * refresh)
        yield* Effect.forEach(cluster.members, (member) => member.launch)
        yield* Effect.forEach(cluster.members, (member) => member.healthy, { concurrency: 3 })
        yield* settled(1, 2, 3)
        assert.deepEqual((yield* verdict).violations, [])
      })
  )

  live(
    "EtcdRunnerStorage stops the shards of a runner that is cut off from etcd before others take them",
    () =>
      Effect.gen(function* () {
        const { cluster, settled, start, verdict } = yield* stage
        const [first] = cluster.members
        assert.ok(first !== undefined)
        const proxy = yield* makeProxy(first)
        // Only its storage is cut off. Its writes show whether it stops in time.
        const cut = yield* start(1, "unguarded", proxy.endpoint)
        yield* start(2, "unguarded")
        yield* start(3, "unguarded")
        yield* settled(1, 2, 3)
        const stops = yield* stopsSince([cut])
        yield* proxy.blackhole()
        yield* some(stops)
        yield* settled(2, 3)
        yield* proxy.heal
        yield* settled(1, 2, 3)
        assert.deepEqual((yield* verdict).violations, [])
      })
  )

  live(
    "EtcdRunnerStorage moves the shards of a frozen runner, and ShardFence keeps its writes out when it resumes",
    () =>
      Effect.gen(function* () {
        const { settled, start, verdict } = yield* stage
        const frozen = yield* start(1, "guarded")
        yield* start(2, "guarded")
        yield* start(3, "guarded")
        yield* settled(1, 2, 3)
        yield* frozen.signal("SIGSTOP")
        yield* settled(2, 3)
        const stops = yield* stopsSince([frozen])
        yield* frozen.signal("SIGCONT")
        yield* some(stops)
        yield* settled(1, 2, 3)
        assert.deepEqual((yield* verdict).violations, [])
      })
  )

  live(
    "without the fence the judge of a history finds two owners after a runner was frozen",
    () =>
      Effect.gen(function* () {
        const { settled, start, verdict } = yield* stage
        const frozen = yield* start(1, "unfenced")
        yield* start(2, "unguarded")
        yield* settled(1, 2)
        yield* frozen.signal("SIGSTOP")
        yield* settled(2)
        yield* frozen.signal("SIGCONT")
        yield* pause(refresh)
        const { violations } = yield* verdict
        assert.match(violations[0] ?? "none", /localhost:1 wrote for default:\d+ of localhost:2/)
      })
  )
})
