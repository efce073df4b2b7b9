import { Effect, Exit, Option } from "effect"
import assert from "node:assert/strict"
import { Barrier, DistributedSemaphore, type Held, LockLost, PermitsMismatch } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { describe } from "../harness/it.ts"
import { elapse, failureOf, leasesIn, settle, start, verify } from "../harness/virtual.ts"
import { type Client, hold, type Holder, lineOf, stage } from "./support.ts"

const name = "/semaphores/uploads"

const permit = (client: Client, permits: number) =>
  hold(client, Effect.flatMap(DistributedSemaphore.make(name, { permits }), ({ acquire }) => acquire))

describe("DistributedSemaphore", () => {
  verify("as many hold as there are permits, in the order of the line (L4)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const holders: Array<Holder<Held, unknown>> = []
      for (let index = 0; index < 7; index++) holders.push(yield* permit(yield* client, 3))
      const holding = () => holders.map((holder) => holder.held() !== undefined ? "x" : ".").join("")
      assert.equal(holding(), "xxx....")
      yield* holders[1]?.release ?? Effect.void
      yield* settle
      assert.equal(holding(), "xxxx...")
      // The first waiter gives up; no other contender moves.
      yield* holders[4]?.interrupt ?? Effect.void
      yield* settle
      assert.equal(holding(), "xxxx...")
      yield* holders[0]?.release ?? Effect.void
      yield* holders[2]?.release ?? Effect.void
      yield* settle
      assert.equal(holding(), "xxxx.xx")
      for (const holder of holders) yield* holder.release
      assert.deepEqual([yield* lineOf(operator, name), yield* leasesIn(operator)], [[], []])
    }))

  verify("a release wakes one waiter and the one behind it, not the whole line (L4)", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const clients: Array<Client> = []
      const holders: Array<Holder<Held, unknown>> = []
      for (let index = 0; index < 30; index++) {
        const one = yield* client
        clients.push(one)
        holders.push(yield* permit(one, 2))
      }
      const ranges = Effect.forEach(clients, ({ faults }) => Effect.map(faults.calls("range"), ({ length }) => length))
      const before = yield* ranges
      yield* holders[0]?.release ?? Effect.void
      yield* settle
      const after = yield* ranges
      const woken = after.flatMap((count, index) => count > (before[index] ?? 0) ? [index] : [])
      assert.deepEqual(woken, [2, 3])
    }))

  verify("a different number of permits fails with PermitsMismatch and leaves nothing", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const first = yield* permit(yield* client, 3)
      const second = yield* permit(yield* client, 2)
      assert.deepEqual(failureOf(second), new PermitsMismatch({ target: name, permits: 2, found: "3" }))
      assert.deepEqual(yield* leasesIn(operator), [first.held()?.leaseId])
    }))

  verify(
    "withPermit interrupts its effect if the permit is lost, and releases it (L2, L6)",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const one = yield* client
        const semaphore = yield* Effect.provideService(DistributedSemaphore.make(name, { permits: 2 }), Etcd, one.etcd)
        const working = yield* start(semaphore.withPermit(Effect.never))
        const [lease] = yield* leasesIn(operator)
        assert.ok(lease !== undefined)
        yield* operator.leaseRevoke(lease)
        yield* settle
        assert.ok(failureOf(working) instanceof LockLost)
        yield* semaphore.withPermit(Effect.void)
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  for (const permits of [0, 1.5, Number.NaN, 100_000]) {
    verify(
      `DistributedSemaphore.make refuses permits of ${permits} before anything is sent`,
      () =>
        Effect.gen(function* () {
          const { client } = yield* stage
          const one = yield* client
          const exit = yield* Effect.exit(
            Effect.provideService(DistributedSemaphore.make(name, { permits }), Etcd, one.etcd)
          )
          assert.match(
            Option.getOrUndefined(Exit.findErrorOption(exit))?.message ?? "",
            /^cannot call DistributedSemaphore\.make: permits is .*; it must be a whole number from 1 to 1000$/
          )
        })
    )
  }
})

describe("Barrier", () => {
  verify(
    "Barrier.wait returns at once while the barrier is open, and waits while its key exists",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const one = yield* client
        const barrier = yield* Effect.provideService(Barrier.make("/barriers/start"), Etcd, one.etcd)
        yield* barrier.wait
        assert.equal(yield* barrier.hold, true)
        assert.equal(yield* barrier.hold, false)
        const waiting = yield* start(barrier.wait)
        yield* one.faults.breakWatches()
        yield* elapse("1 minute")
        assert.equal(waiting.exit(), undefined)
        // Opened as by etcd's own recipe.
        yield* operator.deleteRange({ key: "/barriers/start" })
        yield* settle
        assert.deepEqual(waiting.exit(), Exit.void)
        assert.equal(yield* barrier.release, false)
      })
  )

  verify("Barrier.hold writes the key that etcd's recipe writes, without a lease", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      const barrier = yield* Effect.provideService(Barrier.make("/barriers/start"), Etcd, one.etcd)
      yield* barrier.hold
      const { kvs } = yield* operator.range({ key: "/barriers/start" })
      assert.deepEqual(kvs.map(({ lease, value }) => [lease, value.length]), [[0n, 0]])
      assert.equal(yield* barrier.release, true)
    }))

  verify("Barrier.make refuses an empty name", () =>
    Effect.gen(function* () {
      const { operator } = yield* stage
      const exit = yield* Effect.exit(Effect.provideService(Barrier.make(""), Etcd, operator))
      assert.match(
        Option.getOrUndefined(Exit.findErrorOption(exit))?.message ?? "",
        /^cannot call Barrier\.make: name is ""/
      )
    }))
})
