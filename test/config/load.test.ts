import { Context, Effect, Layer, Logger, Schedule, Schema, type Scope } from "effect"
import assert from "node:assert/strict"
import { ConfigRef, EtcdConfigProvider } from "../../src/config/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { eachEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { makeProxy } from "../harness/Proxy.ts"
import { pause } from "../harness/real.ts"
import { recorded } from "../registry/registration/support.ts"

const key = "/config/limits"
const changes = 1000
const Limits = Schema.Struct({ n: Schema.Int })
const soon = { progressEvery: "1 second", progressTimeout: "3 seconds" } as const

/** One way to the keys for the operator, another for readers, which can be cut off. */
interface World {
  readonly operator: Etcd
  readonly readers: Etcd
  /** Runs an effect while readers reach nothing. */
  readonly cutOff: <A, E>(meanwhile: Effect.Effect<A, E>) => Effect.Effect<A, E | Error>
  /** Ends the server and starts it again, where there is one. */
  readonly restart: Effect.Effect<void, Error>
}

/** An apply that takes a while, and what became of each. */
const applies = () => {
  const log: Array<readonly ["begin" | "end" | "interrupted", number]> = []
  const apply = ({ n }: typeof Limits.Type) =>
    Effect.gen(function* () {
      log.push(["begin", n])
      yield* Effect.onInterrupt(pause(10), () => Effect.sync(() => log.push(["interrupted", n])))
      log.push(["end", n])
    })
  return { log, apply }
}

/** Each that was begun has ended, in one of these ways, before the next, which is newer. */
const assertOneAtATime = (log: ReturnType<typeof applies>["log"], ways: ReadonlyArray<string>) => {
  for (let index = 0; index < log.length; index += 2) {
    const [begin, n] = log[index]!
    const [way, ended] = log[index + 1]!
    assert.equal(begin, "begin")
    assert.equal(ended, n)
    assert.ok(ways.includes(way), `${way} ${n}`)
    assert.ok(n % 10 !== 0 && n > (log[index - 1]?.[1] ?? 0), `${n} after ${log[index - 1]}`)
  }
  assert.deepEqual(log.at(-1), ["end", changes - 1])
}

const survives = <E>(title: string, makeWorld: Effect.Effect<World, E, Scope.Scope>) =>
  live(title, () =>
    Effect.gen(function* () {
      const { cutOff, operator, readers, restart } = yield* makeWorld
      const value = (n: number) => n % 10 === 0 ? `{ "n": "bad" }` : JSON.stringify({ n })
      const put = (n: number) =>
        operator.txn({
          then: [
            { _tag: "Put", request: { key, value: value(n) } },
            { _tag: "Put", request: { key: "/settings/n", value: String(n) } }
          ]
        }).pipe(Effect.retry(Schedule.spaced("50 millis")))
      const putAll = Effect.fnUntraced(function* (from: number, to: number) {
        for (let n = from; n <= to; n++) yield* put(n)
      })
      yield* putAll(1, 1)

      const { finishing, interrupting, provider, ref, states } = yield* Effect.gen(function* () {
        const interrupting = applies()
        const finishing = applies()
        yield* Effect.forkScoped(ConfigRef.apply(key, Limits, interrupting.apply, soon))
        yield* Effect.forkScoped(ConfigRef.apply(key, Limits, finishing.apply, { ...soon, whenNewer: "finish" }))
        const states = yield* recorded(ConfigRef.stream(key, Limits, soon))
        const ref = yield* ConfigRef.make(key, Limits, soon)
        const provider = yield* EtcdConfigProvider.make({ prefix: "/settings", ...soon })
        return { finishing, interrupting, provider, ref, states }
      }).pipe(Effect.provideService(Etcd, readers))
      const refStates = yield* recorded(ref.changes)

      yield* putAll(2, 250)
      yield* restart
      yield* putAll(251, 500)
      yield* cutOff(Effect.gen(function* () {
        yield* putAll(501, 600)
        const { header } = yield* operator.status
        yield* operator.compact({ revision: header.revision })
      }))
      yield* putAll(601, changes)

      for (const { all, until } of [states, refStates]) {
        const last = yield* until(({ rejected, freshness, ...state }) =>
          freshness._tag === "Live" && rejected !== undefined && state._tag === "Present" &&
          state.value.n === changes - 1
        )
        let before = 0
        for (const state of all) {
          assert.ok(state._tag === "Present" && state.value.n % 10 !== 0 && state.value.n >= before, String(before))
          before = state.value.n
        }
        assert.equal(all.at(-1), last)
        assert.ok(all.length > 10, `${all.length} states`)
      }
      yield* Effect.retry(
        Effect.gen(function* () {
          assert.deepEqual(yield* provider.load(["n"]), { _tag: "Value", value: String(changes) })
          assert.deepEqual([interrupting.log.at(-1), finishing.log.at(-1)], [["end", changes - 1], [
            "end",
            changes - 1
          ]])
        }).pipe(Effect.catchDefect(Effect.fail)),
        Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "40 seconds" }))
      )
      assertOneAtATime(finishing.log, ["end"])
      assertOneAtATime(interrupting.log, ["end", "interrupted"])
      assert.ok(interrupting.log.some(([way]) => way === "interrupted"))
    }).pipe(Effect.provide(Logger.layer([]))))

describe("live configuration under 1,000 changes", () => {
  eachEtcd((version) => {
    survives(
      "readers of 1,000 changes with bad values, a restart and a compaction get only good values, and the last one last",
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const proxy = yield* makeProxy(server)
        const clientOf = (endpoint: string) =>
          Effect.map(Layer.build(EtcdGrpc.layer({ endpoints: [endpoint] })), (context) => Context.get(context, Etcd))
        return {
          operator: yield* clientOf(server.endpoint),
          readers: yield* clientOf(proxy.endpoint),
          cutOff: (meanwhile) =>
            proxy.refuse.pipe(
              Effect.andThen(proxy.reset),
              Effect.andThen(meanwhile),
              Effect.tap(proxy.accept)
            ),
          restart: Effect.andThen(server.kill("SIGKILL"), server.start)
        } satisfies World
      })
    )
  })

  survives(
    "readers of 1,000 changes on the embedded engine get only good values, and the last one last",
    Effect.gen(function* () {
      const operator = yield* EtcdMemory.make()
      const { etcd, faults } = yield* FaultyEtcd.make(operator)
      return {
        // An engine that answers at once would leave readers no time between changes.
        operator: {
          ...operator,
          txn: (request) =>
            Effect.tap(
              operator.txn(request),
              ({ header }) => Effect.when(pause(0), Effect.succeed(header.revision % 10n === 0n))
            )
        },
        readers: etcd,
        cutOff: (meanwhile) => faults.outage.pipe(Effect.andThen(meanwhile), Effect.tap(faults.clear)),
        restart: faults.breakWatches()
      } satisfies World
    })
  )
})
