import { Effect, Exit, Random, Scope } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import * as Recovery from "../../../src/registry/registration/recovery.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  collect,
  elapse,
  keyOfA,
  keysIn,
  leasesIn,
  orders,
  type Process,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  valueOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const count = 1000

/** Registers a thousand instances whose leases are their own. */
const registerThousand = (one: Process) =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    for (let index = 0; index < count; index++) {
      yield* one.registry.register(orders, { ...a, ttl: "2 seconds", id: `i${index}` }).pipe(Scope.provide(scope))
    }
  })

/** How many keys are put in each 100 ms from the beginning of `begin` on. */
const putsPerSlice = Effect.fnUntraced(function* (operator: Etcd, slices: number, begin: Effect.Effect<void>) {
  const puts = yield* collect(operator.watch({ ...prefix("/services/"), filters: ["noDelete"] }))
  const total = () => puts.seen.flatMap((one) => one._tag === "Events" ? one.events : []).length
  const found: Array<number> = []
  yield* begin
  for (let slice = 0, before = 0; slice < slices; slice++) {
    yield* elapse("100 millis")
    found.push(total() - before)
    before = total()
  }
  return found
})

describe("the return of etcd", () => {
  verify(
    "a registration is back as soon as etcd is, without waiting for its backoff (D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* one.faults.outage
        // Long enough for delays of 5 seconds.
        yield* elapse("10 minutes")
        assert.equal(yield* statusOf(kept), "Recovering")
        yield* one.faults.clear
        yield* settle
        assert.deepEqual(kept.statuses.at(-1), [600_000, "Registered"])
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      }).pipe(withDraw(1))
  )

  verify(
    "a registration that notices its loss after etcd's return claims at once (D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        // The backoff is at its longest, and no healthy period has reset it.
        yield* one.faults.set([{ method: "leaseGrant", times: 80, fault: FaultyEtcd.unavailable }])
        const kept = yield* register(one, { ...a, ttl: "1 hour", startup: "background" })
        yield* elapse("10 minutes")
        assert.equal(yield* statusOf(kept), "Registered")
        yield* one.faults.outage
        yield* elapse("1 second")
        yield* one.faults.clear
        yield* settle
        assert.equal(yield* statusOf(kept), "Registered")
        yield* operator.deleteRange({ key: keyOfA })
        yield* settle
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(kept.statuses.slice(-2).map(([, tag]) => tag), ["Recovering", "Registered"])
        // Once: if a key is deleted repeatedly, only the first put follows at once.
        yield* operator.deleteRange({ key: keyOfA })
        yield* settle
        assert.equal(yield* statusOf(kept), "Recovering")
      }).pipe(withDraw(1))
  )

  verify(
    "a registration claims again without waiting until its lost lease is revoked (R3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        const [lost] = yield* leasesIn(operator)
        yield* one.faults.set([{ method: "leaseRevoke", fault: FaultyEtcd.slow("2 seconds") }])
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("100 millis")
        assert.equal(yield* statusOf(kept), "Registered")
        yield* elapse("2 seconds")
        const left = yield* leasesIn(operator)
        assert.deepEqual([left.length, left.includes(lost ?? 0n)], [1, false])
      }).pipe(withDraw(1))
  )

  verify(
    "release revokes the lost lease that the last claim left behind (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* one.faults.set([{ method: "leaseRevoke", fault: FaultyEtcd.slow("2 seconds"), times: 1 }])
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("100 millis")
        assert.deepEqual([yield* statusOf(kept), (yield* leasesIn(operator)).length], ["Registered", 2])
        yield* kept.release
        assert.deepEqual(yield* leasesIn(operator), [])
      }).pipe(withDraw(1))
  )

  verify(
    "a heartbeat that failed is repeated as soon as etcd is back (D12)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* register(one, { ...a, ttl: "30 seconds" })
        yield* one.faults.outage
        // The heartbeat of 10 s fails, and so do those after 50, 100, 200, 400 and 500 ms.
        yield* elapse("11300 millis")
        const before = yield* timesOf(one, "leaseKeepAlive")
        assert.deepEqual(before, [10_000, 10_050, 10_150, 10_350, 10_750, 11_250])
        yield* one.faults.clear
        yield* settle
        yield* elapse("9 seconds")
        assert.deepEqual((yield* timesOf(one, "leaseKeepAlive")).slice(before.length), [11_300])
      }).pipe(withDraw(1))
  )

  verify(
    "a release that waits for etcd ends as soon as etcd is back (D12, R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one, { ...a, releaseTimeout: "1 minute" })
        yield* one.faults.outage
        const released = yield* start(kept.release)
        // After 50, 150, 350, 750 and 1250 ms.
        yield* elapse("1300 millis")
        assert.equal(released.exit(), undefined)
        yield* one.faults.clear
        yield* settle
        assert.deepEqual([released.exit(), yield* leasesIn(operator)], [Exit.void, []])
      }).pipe(withDraw(1))
  )

  verify(
    "an update that waits for etcd is written as soon as etcd is back (D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { registration } = yield* register(one, { ...a, ttl: "1 hour" })
        yield* one.faults.outage
        const updated = yield* start(registration.update({ weight: 5 }))
        yield* elapse("10 minutes")
        assert.equal(updated.exit(), undefined)
        yield* one.faults.clear
        yield* settle
        assert.deepEqual(updated.exit(), Exit.void)
        assert.equal(((yield* valueOf(operator)) as { readonly weight?: number }).weight, 5)
      }).pipe(withDraw(1))
  )

  verify(
    "1,000 registrations come back within a second of etcd's return, evenly (R4, D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* registerThousand(one)
        yield* one.faults.outage
        yield* elapse("3 seconds")
        assert.deepEqual(yield* keysIn(operator), {})
        const found = yield* putsPerSlice(operator, 10, one.faults.clear)
        assert.equal(Object.keys(yield* keysIn(operator)).length, count)
        assert.ok(Math.max(...found) <= 170, `at most 170 in 100 ms, found ${found}`)
      }).pipe(Random.withSeed("herd"))
  )

  verify(
    "1,000 registrations that find etcd wiped come back within a second, evenly (R4, D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process, replace } = yield* world
        const one = yield* process()
        yield* registerThousand(one)
        yield* one.faults.outage
        yield* elapse("1 second")
        yield* replace({ clusterId: 7n })
        const found = yield* putsPerSlice(operator, 11, one.faults.clear)
        assert.equal(Object.keys(yield* keysIn(operator)).length, count)
        assert.ok(Math.max(...found) <= 170, `at most 170 in 100 ms, found ${found}`)
      }).pipe(Random.withSeed("wiped"))
  )

  verify(
    "one fiber waits for etcd's return while a registry has registrations, and none after (D11, D12)",
    () =>
      Effect.gen(function* () {
        let waiting = 0
        const recovered = Effect.acquireUseRelease(
          Effect.sync(() => waiting++),
          () => Effect.never,
          () => Effect.sync(() => waiting--)
        )
        const recovery = Recovery.make({ recovered }, yield* Effect.context<never>())
        yield* settle
        assert.equal(waiting, 0)
        recovery.enter()
        recovery.enter()
        yield* settle
        assert.equal(waiting, 1)
        recovery.leave()
        yield* settle
        assert.equal(waiting, 1)
        recovery.leave()
        yield* settle
        assert.equal(waiting, 0)
      })
  )
})
