import { Cause, Duration, Effect, Exit, Logger, Result, Schedule } from "effect"
import assert from "node:assert/strict"
import { performance } from "node:perf_hooks"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import { collect, counted, elapse, orders, putInstance, settle, show, verify, world } from "../../harness/virtual.ts"

/** `orders` with a codec that throws for one weight. */
const throwingAt = (weight: number, thrown: unknown): Service.Service =>
  Service.make("orders", {
    codec: {
      encode: orders.codec.encode,
      decode: (name: string, id: string, value: Uint8Array) =>
        Result.map(orders.codec.decode(name, id, value), (instance) => {
          if (instance.weight === weight) throw thrown
          return instance
        })
    }
  })

describe("discover and code of the user", () => {
  for (const thrown of [new SyntaxError("Cannot convert none to a BigInt"), "text", undefined, Object.create(null)]) {
    verify(
      `discover rejects a value whose codec throws ${typeof thrown}, and keeps all others (D9)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process()
          const service = throwingAt(13, thrown)
          yield* putInstance(operator, "a")
          yield* putInstance(operator, "listed", { weight: 13 })
          const sets = yield* collect(one.registry.discover(service))
          const lease = yield* putInstance(operator, "b")
          // One batch: an instance, the value that throws, and another instance.
          const put = (id: string, weight: number) => ({
            _tag: "Put" as const,
            request: {
              key: `/services/orders/${id}`,
              value: JSON.stringify({ endpoints: [`http://${id}:80`], weight }),
              lease
            }
          })
          yield* operator.txn({ then: [put("a", 2), put("bad", 13), put("c", 1)] })
          yield* settle
          const rejected = "/services/orders/bad,/services/orders/listed"
          assert.equal(sets.seen.map(show).at(-1), `Live a,b,c (rejected ${rejected})`)
          const [found] = sets.seen.at(-1)?.rejected ?? []
          assert.equal(found?.error.cause, thrown)
          // Once the value is gone, nothing of it is left.
          yield* operator.deleteRange({ key: "/services/orders/bad" })
          yield* putInstance(operator, "listed")
          yield* settle
          assert.equal(sets.seen.map(show).at(-1), "Live a,b,c,listed")
          const late = yield* collect(one.registry.discover(service))
          assert.deepEqual(late.seen.map(show), ["Live a,b,c,listed"])
          yield* elapse("1 hour")
          assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        })
    )
  }

  verify("discover rejects keys whose layout throws, and keeps all others", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const prefix = "/services/orders/"
      const service = Service.make("orders", {
        codec: {
          ...orders.codec,
          layout: {
            servicePrefix: () => prefix,
            key: (_name: string, id: string) => prefix + id,
            idOf: (_name: string, key: Uint8Array) => {
              const id = new TextDecoder().decode(key).slice(prefix.length)
              if (id === "bad") throw new Error("layout")
              return id
            },
            checkName: (name: string) => Result.succeed(name),
            checkId: (id: string) => Result.succeed(id),
            newId: () => "new"
          }
        }
      })
      yield* putInstance(operator, "bad")
      const sets = yield* collect(one.registry.discover(service))
      yield* putInstance(operator, "a")
      yield* settle
      assert.equal(sets.seen.map(show).at(-1), "Live a (rejected /services/orders/bad)")
    }))

  verify(
    "discover ends with the defect of its retry schedule and logs it; the next consumer starts a new watch",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const defect = new Error("the delay dies")
        const retry = Schedule.modifyDelay(Schedule.spaced("1 second"), () => Effect.die(defect))
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders, { retry }))
        yield* one.faults.breakWatches()
        yield* elapse("1 second")
        const exit = sets.exit()
        assert.ok(exit !== undefined && Exit.isFailure(exit))
        assert.equal(Cause.squash(exit.cause), defect)
        assert.ok(log.some((line) => line.includes("ended with a defect")), log.join("\n"))
        yield* putInstance(operator, "b")
        const next = yield* collect(one.registry.discover(orders, { retry }))
        assert.deepEqual(next.seen.map(show), ["Live a,b"])
      })
  )

  verify("discover survives a logger that throws", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const sets = yield* collect(one.registry.discover(orders))
      yield* putInstance(operator, "bad", { endpoints: [] })
      yield* settle
      yield* one.faults.breakWatches()
      yield* elapse("10 seconds")
      yield* putInstance(operator, "a")
      yield* settle
      assert.equal(sets.seen.map(show).at(-1), "Live a (rejected /services/orders/bad)")
      assert.equal(sets.exit(), undefined)
    }).pipe(Effect.provide(Logger.layer([Logger.make(() => {
      throw new Error("logger")
    })]))))

  verify(
    "discover logs at most 20 rejected values a minute, and the number of the others (D9)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* collect(one.registry.discover(orders))
        const lease = yield* putInstance(operator, "a")
        for (let index = 0; index < 500; index++) {
          yield* putInstance(operator, `bad-${index % 50}`, { weight: -index - 1 }, lease)
        }
        yield* settle
        assert.equal(log.filter((line) => line.includes("is left out")).length, 20)
        assert.equal(yield* counted("etcd_discovery_rejected_values_total"), 500)
        yield* elapse("2 minutes")
        yield* putInstance(operator, "bad-1", { weight: -1 }, lease)
        yield* settle
        assert.ok(log.includes("Warn 480 more rejected values were not logged"), log.slice(-3).join("\n"))
        assert.equal(log.filter((line) => line.includes("is left out")).length, 21)
      })
  )
})

describe("discover and the event loop", () => {
  verify(
    "discover decodes many slow values in slices: the event loop gets its turn in between",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        let decoding = 0
        const slow = Service.make("orders", {
          codec: {
            encode: orders.codec.encode,
            decode: (name: string, id: string, value: Uint8Array) => {
              const until = performance.now() + 2
              while (performance.now() < until);
              decoding += 1
              return orders.codec.decode(name, id, value)
            }
          }
        })
        const lease = yield* putInstance(operator, "0", { metadata: { padding: "x".repeat(10_000) } })
        for (let index = 1; index < 200; index++) {
          yield* putInstance(operator, String(index), { metadata: { padding: "x".repeat(10_000) } }, lease)
        }
        const turns: Array<number> = []
        const timer = setInterval(() => turns.push(decoding), 1)
        const set = yield* Effect.ensuring(one.registry.getInstances(slow), Effect.sync(() => clearInterval(timer)))
        assert.equal(set.size, 200)
        // 200 values of 2 ms each, in slices of 5 ms.
        const inBetween = new Set(turns).size
        assert.ok(inBetween >= 20, `${inBetween} turns of the event loop while 200 values were decoded`)
      })
  )
})

describe("reading options", () => {
  const leaseless = (operator: Etcd) =>
    Effect.orDie(operator.put({ key: "/services/orders/static", value: JSON.stringify({ endpoints: ["http://s:1"] }) }))

  verify(
    "leaseless: accept reads keys without a lease as instances; the default rejects them",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        yield* leaseless(operator)
        const { registry } = one
        const rejecting = yield* collect(registry.discover(orders))
        const accepting = yield* collect(registry.discover(orders, { leaseless: "accept" }))
        const rejected = "Live a (rejected /services/orders/static)"
        assert.deepEqual(rejecting.seen.map(show), [rejected])
        assert.deepEqual(accepting.seen.map(show), ["Live a,static"])
        assert.equal(show(yield* registry.getInstances(orders)), rejected)
        assert.equal(show(yield* registry.getInstances(orders, { leaseless: "accept" })), "Live a,static")
        const byDefault = yield* process({ leaseless: "accept" })
        assert.equal(show(yield* byDefault.registry.getInstances(orders)), "Live a,static")
      })
  )

  verify("maxValueBytes bounds the values that are decoded; the default is 128 KiB", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const bytes = (count: number) => ({ metadata: { padding: "x".repeat(count) } })
      yield* putInstance(operator, "large", bytes(200_000))
      yield* putInstance(operator, "medium", bytes(1000))
      yield* putInstance(operator, "small")
      const { registry } = one
      assert.equal(show(yield* registry.getInstances(orders)), "Live medium,small (rejected /services/orders/large)")
      assert.equal(
        show(yield* registry.getInstances(orders, { maxValueBytes: 1024 * 1024 })),
        "Live large,medium,small"
      )
      const sets = yield* collect(registry.discover(orders, { maxValueBytes: 100 }))
      assert.deepEqual(sets.seen.map(show), ["Live small (rejected /services/orders/large,/services/orders/medium)"])
    }))

  verify(
    "discover and getInstances refuse invalid options with InvalidOption before any call",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const invalid = [
          ["leaseless", { leaseless: "maybe" as "accept" }],
          ["maxValueBytes", { maxValueBytes: 0 }],
          ["maxValueBytes", { maxValueBytes: 2 ** 30 }],
          ["progressEvery", { progressEvery: Duration.nanos(1n) }],
          ["progressTimeout", { progressTimeout: 0 }],
          ["reconcileEvery", { reconcileEvery: Duration.nanos(1n) }],
          ["protect.hold", { protect: { maxLoss: 0.5, hold: Duration.infinity } }],
          ["protect.hold", { protect: { maxLoss: 0.5, hold: Duration.nanos(1n) } }],
          ["protect.maxLoss", { protect: { maxLoss: 1.5, hold: "1 second" } }]
        ] as const
        for (const [option, options] of invalid) {
          for (
            const { exit } of [
              yield* collect(one.registry.discover(orders, options)),
              yield* collect(one.registry.discoverAll(options))
            ]
          ) {
            const failed = exit()
            assert.ok(failed !== undefined && Exit.isFailure(failed), option)
            const error = Cause.squash(failed.cause)
            assert.ok(typeof error === "object" && error !== null && "_tag" in error && "option" in error)
            assert.deepEqual([error._tag, error.option], ["InvalidOption", option])
          }
        }
        assert.deepEqual(yield* one.faults.calls(), [])
      })
  )
})

describe("sharing a watch", () => {
  verify(
    "consumers with other options, or another codec that looks the same, never share a view (D6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { faults, registry } = yield* process()
        yield* putInstance(operator, "a", { weight: 3 })
        /** Two instances are structurally equal; they differ only in private members. */
        class Scaled {
          readonly #factor: number
          constructor(factor: number) {
            this.#factor = factor
          }
          encode = orders.codec.encode
          decode(name: string, id: string, value: Uint8Array) {
            return Result.map(orders.codec.decode(name, id, value), (instance) => ({
              ...instance,
              weight: instance.weight * this.#factor
            }))
          }
        }
        const consumers = [
          yield* collect(registry.discover(Service.make("orders", { codec: new Scaled(2) }))),
          yield* collect(registry.discover(Service.make("orders", { codec: new Scaled(5) }))),
          yield* collect(registry.discover(orders, { leaseless: "accept" })),
          yield* collect(registry.discover(orders, { protect: { maxLoss: 0, hold: "1 minute" } })),
          yield* collect(registry.discover(orders, { protect: { maxLoss: 0, hold: 60_000 } })),
          yield* collect(registry.discover(orders))
        ]
        assert.deepEqual(consumers.map(({ seen }) => seen[0]?.instances[0]?.weight), [6, 15, 3, 3, 3, 3])
        yield* operator.deleteRange({ key: "/services/orders/a" })
        yield* settle
        assert.deepEqual(consumers.map(({ seen }) => seen.at(-1)?.held.length), [0, 0, 0, 1, 1, 0])
        assert.ok((yield* faults.openWatches).length <= 6)
      })
  )
})

describe("reconciliation", () => {
  verify(
    "reconciliation mends a set while its watch is Stale, and counts no defect (D8)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process({ reconcileEvery: "2 minutes" })
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        // Reads work, watches do not, as behind a proxy that breaks them.
        yield* one.faults.set([{ method: "watch", fault: FaultyEtcd.unavailable }])
        yield* one.faults.breakWatches()
        yield* putInstance(operator, "b")
        yield* elapse("4 minutes")
        assert.ok(sets.seen.map(show).includes("Stale a"))
        assert.match(show(sets.seen.at(-1) ?? assert.fail()), /^\w+ a,b$/)
        yield* operator.deleteRange({ key: "/services/orders/a" })
        yield* elapse("4 minutes")
        assert.match(show(sets.seen.at(-1) ?? assert.fail()), /^\w+ b$/)
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        assert.ok(log.some((line) => line.includes("reconciliation found 1 stale keys")))
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.equal(show(sets.seen.at(-1) ?? assert.fail()), "Live b")
      })
  )

  verify("discover lists with a backoff when every watch is compacted at once (B12)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* putInstance(operator, "a")
      const compacted = FaultyEtcd.breaksAfter(1, { _tag: "Compacted", detail: "always", compactRevision: 1n } as never)
      yield* one.faults.set([{ method: "watch", fault: compacted }])
      const sets = yield* collect(one.registry.discover(orders))
      yield* elapse("10 minutes")
      const lists = (yield* one.faults.calls("range")).length
      assert.ok(lists <= 400, `${lists} lists in 10 minutes`)
      yield* putInstance(operator, "b")
      yield* elapse("10 seconds")
      assert.match(show(sets.seen.at(-1) ?? assert.fail()), / a,b$/)
    }))
})
