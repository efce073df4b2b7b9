// etcdctl, Go's clientv3/concurrency and this library compete for one lock, under faults.
import { Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Election, Lock } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import type { WatchEvent } from "../../src/etcd/messages/watch.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { goBinary, programs, whyNoGo } from "../../tools/go.ts"
import { eachSharedEtcd, etcdctl, startCluster, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { makeProxy } from "../harness/Proxy.ts"
import { eventually, pause } from "../harness/real.ts"
import { versions } from "../harness/versions.ts"
import { judge } from "./history.ts"

const go = goBinary(join(programs, "contender.go"))
const skip = existsSync(go) ? false : `no Go programs: ${whyNoGo() ?? "`deno task go` builds them"}`
const contender = new URL("programs/contender.ts", import.meta.url)

/** How long they compete, in milliseconds. */
const contestMillis = Number(process.env["CONTEST_SECONDS"] ?? 60) * 1000

/** All events of the keys that a contest writes, from the first revision on. */
const historyOf = (etcd: Etcd): Effect.Effect<ReadonlyArray<WatchEvent>, unknown> =>
  Effect.gen(function* () {
    const { header } = yield* etcd.range({ key: "/" })
    const events: Array<WatchEvent> = []
    // The last event of a complete history is a write of our own.
    yield* etcd.put({ key: "/end", value: "" })
    yield* etcd.watch({ ...prefix("/"), startRevision: 2n }).pipe(
      Stream.takeUntil((answer) => {
        if (answer._tag === "Events") events.push(...answer.events)
        return events.some(({ kv }) => kv.modRevision > header.revision)
      }),
      Stream.runDrain
    )
    return events
  })

const lineHas = (etcd: Etcd, name: string, length: number) =>
  Effect.filterOrFail(
    etcd.range(prefix(`${name}/`)),
    ({ kvs }) => kvs.length === length,
    ({ kvs }) => new Error(`${kvs.length} keys are in line, not ${length}`)
  )

/** A contender in this process whose writes arrive while its heartbeats and watches do not. */
const deafContender = Effect.fnUntraced(function* (etcd: Etcd, name: string) {
  const { etcd: deaf, faults } = yield* FaultyEtcd.make(etcd)
  const turn = Lock.withLock(name, { ttl: "2 seconds" })((held) =>
    Effect.gen(function* () {
      yield* faults.set([
        { method: "leaseKeepAlive", times: 1000, fault: FaultyEtcd.hung },
        { method: "watch", times: 1000, fault: FaultyEtcd.hung }
      ])
      const write = deaf.put({ key: "/written/deaf", value: held.key })
      yield* Effect.repeat(Effect.andThen(write, Effect.sleep("20 millis")), { times: 250 })
    })
  ).pipe(
    Effect.ignore,
    Effect.andThen(faults.set([])),
    Effect.andThen(Effect.sleep("5 seconds"))
  )
  yield* Effect.forkScoped(Effect.forever(Effect.provideService(turn, Etcd, deaf)))
})

describe("Lock among other clients", () => {
  eachSharedEtcd((server) => {
    const on = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.provide(effect, EtcdGrpc.layer({ endpoints: [server().endpoint] }))

    live("etcdctl lock waits for Lock.acquire (L1)", () =>
      on(Effect.scoped(Effect.gen(function* () {
        const name = "/locks/before-etcdctl"
        const etcd = yield* Etcd
        const ended = yield* Effect.scoped(Effect.gen(function* () {
          const held = yield* Lock.acquire(name)
          const theirs = yield* Effect.forkDetach(etcdctl(server(), "lock", name, "echo", "done"))
          yield* eventually(lineHas(etcd, name, 2))
          assert.equal((yield* etcd.txn({ compare: [held.fence] })).succeeded, true)
          assert.equal(theirs.pollUnsafe(), undefined)
          return theirs
        }))
        assert.match(yield* Fiber.join(ended), /done/)
      }))))

    live("Lock.acquire waits for etcdctl lock (L1)", () =>
      on(Effect.scoped(Effect.gen(function* () {
        const name = "/locks/after-etcdctl"
        const theirs = yield* Effect.forkScoped(etcdctl(server(), "lock", name, "sleep", "1"))
        yield* eventually(lineHas(yield* Etcd, name, 1))
        assert.deepEqual(yield* Lock.tryAcquire(name), Option.none())
        const held = yield* Lock.acquire(name)
        assert.equal((yield* (yield* Etcd).txn({ compare: [held.fence] })).succeeded, true)
        yield* Fiber.join(theirs)
      }))))

    live(
      "Election.observe shows a leader of etcdctl elect, and etcdctl elect --listen shows ours (L1)",
      () =>
        on(Effect.scoped(Effect.gen(function* () {
          const name = "/elections/with-etcdctl"
          yield* Effect.forkScoped(etcdctl(server(), "elect", name, "theirs"))
          const leader = (value: string) =>
            Election.observe(name).pipe(
              Stream.filter((leader) => Option.isSome(leader) && leader.value.value === value),
              Stream.runHead
            )
          yield* leader("theirs")
          const etcd = yield* Etcd
          const { kvs: [kv] } = yield* etcd.range(prefix(`${name}/`))
          const campaigning = yield* Effect.forkScoped(Election.campaign(name, "ours"))
          yield* etcd.leaseRevoke(kv?.lease ?? 0n)
          yield* leader("ours")
          yield* eventually(
            Effect.suspend(() => campaigning.pollUnsafe() === undefined ? Effect.fail("waits") : Effect.void)
          )
        })))
    )
  })

  live(
    "Lock, Go and etcdctl compete under faults: one holder at a time, in order, without starvation or leftovers (L1-L6)",
    () =>
      Effect.gen(function* () {
        const [newest] = versions
        const cluster = yield* startCluster(3, newest === undefined ? {} : { version: newest })
        const [first] = cluster.members
        assert.ok(first !== undefined)
        const proxy = yield* makeProxy(first)
        const name = "/locks/contest"
        const ours = (who: string, mode: "guarded" | "unguarded", endpoint = cluster.endpoints.join()) =>
          runProgram({ file: contender, args: [endpoint, name, who, "3", mode] })
        const etcd = yield* EtcdGrpc.make({ endpoints: [...cluster.endpoints] })

        const theirs = yield* runProgram({ file: go, runtime: "native", args: [first.endpoint, name, "go", "3"] })
        const steady = yield* ours("steady", "unguarded")
        const paused = yield* ours("paused", "guarded")
        const cut = yield* ours("cut", "guarded", proxy.endpoint)
        const doomed = yield* ours("doomed", "guarded")
        const scope = yield* Scope.make()
        yield* Scope.provide(deafContender(etcd, name), scope)
        const ctl = yield* Effect.forkScoped(
          Effect.forever(Effect.ignore(etcdctl(first, "lock", name, "--ttl", "3", "true")))
        )

        const holder = Effect.map(
          etcd.range({ ...prefix(`${name}/`), limit: 1, sort: { target: "create", order: "ascend" } }),
          ({ kvs: [kv] }) => kv?.lease ?? 0n
        )
        const faults = [
          Effect.flatMap(holder, (lease) => lease === 0n ? Effect.void : Effect.ignore(etcd.leaseRevoke(lease))),
          Effect.andThen(paused.signal("SIGSTOP"), Effect.andThen(pause(4500), paused.signal("SIGCONT"))),
          Effect.andThen(proxy.blackhole(), Effect.andThen(pause(3500), proxy.heal)),
          Effect.gen(function* () {
            const leader = yield* cluster.leader
            const other = cluster.members.find((member) => member !== leader)
            if (other === undefined) return
            const status = yield* etcdctl(other, "endpoint", "status", "-w", "json")
            const id = BigInt(/"member_id":(\d+)/.exec(status)?.[1] ?? "0").toString(16)
            yield* Effect.ignore(etcdctl(leader, "move-leader", id))
          }),
          doomed.signal("SIGKILL")
        ]
        for (const fault of faults) {
          yield* fault
          yield* pause(contestMillis / faults.length)
        }
        for (const program of [theirs, steady, paused, cut]) yield* program.endInput
        ctl.interruptUnsafe()
        yield* Scope.close(scope, Exit.void)
        for (const program of [theirs, steady, paused, cut]) yield* program.awaitLine("ended", 20_000)
        // The key of a killed contender disappears with its lease, which a change of leader prolongs.
        yield* eventually(lineHas(etcd, name, 0))
        const verdict = judge(name, yield* historyOf(etcd))
        assert.deepEqual(verdict.violations, [])
        assert.deepEqual(verdict.left, [])
        assert.deepEqual(Object.keys(verdict.turns).sort(), ["cut", "deaf", "doomed", "go", "paused", "steady"])
      }),
    { skip, timeout: 240_000 }
  )

  live(
    "without the fence and without a deadline the check of a contest finds two holders",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        const key = `/locks/contest/${id.toString(16)}`
        yield* etcd.put({ key, value: "", lease: id })
        yield* etcd.put({ key: "/written/a", value: key })
        yield* etcd.leaseRevoke(id)
        yield* etcd.put({ key: "/written/a", value: key })
        const { turns, violations } = judge("/locks/contest", yield* historyOf(etcd))
        assert.deepEqual(turns, { a: 1 })
        assert.equal(violations.length, 1)
        assert.match(violations[0] ?? "", /a wrote as .*, the holder is nobody/)
      })
  )
})
