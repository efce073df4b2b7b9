import { Clock, Effect, Exit, Layer, ManagedRuntime, Option, Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { registerService, type Registration, Registry } from "../../../mod.ts"
import { Etcd, EtcdMemory } from "../../../src/etcd/mod.ts"
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
  putInstance,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  valueOf,
  verify,
  world
} from "../../harness/virtual.ts"

/** Asserts that the only line about the release is the warning that etcd still has the key. */
const assertKeyIsLeft = (log: ReadonlyArray<string>): void =>
  assert.deepEqual(log.filter((line) => line.includes("released")), [
    `Warn released "${keyOfA}", but etcd keeps it until its lease expires`
  ])

describe("release", () => {
  verify(
    "release publishes draining, waits for drain, and the key is gone when it returns (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one, { ...a, drain: "20 seconds" })
        const released = yield* start(kept.release)
        assert.equal((yield* valueOf(operator) as Effect.Effect<{ status: string }>).status, "draining")
        // Longer than the TTL: heartbeats go on.
        yield* elapse(19_999)
        assert.deepEqual([released.exit(), Object.keys(yield* keysIn(operator))], [undefined, [keyOfA]])
        yield* elapse(1)
        assert.deepEqual(released.exit(), Exit.void)
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        assert.deepEqual(kept.statuses, [[0, "Registered"], [0, "Draining"], [20_000, "Released"]])
      })
  )

  const registered = registerService("orders", a)
  const ofMemory = (etcd: Etcd) => Registry.layer().pipe(Layer.provide(Layer.succeed(Etcd, etcd)))
  /** Compositions whose registry closes before the scope of the registration does. */
  const compositions: ReadonlyArray<
    readonly [string, (etcd: Etcd) => Effect.Effect<Registration, unknown, Scope.Scope>]
  > = [
    ["Registry.layer is provided inside of the scope", (etcd) => Effect.provide(registered, ofMemory(etcd))],
    [
      "Registry.layer and its client are provided one after the other",
      (etcd) => registered.pipe(Effect.provide(Registry.layer()), Effect.provideService(Etcd, etcd))
    ],
    [
      "Registry.layer is built in a scope that closes first",
      (etcd) =>
        Effect.scoped(Layer.build(ofMemory(etcd))).pipe(
          Effect.flatMap(() => Effect.scope),
          Effect.flatMap((outer) =>
            Effect.scoped(Effect.flatMap(
              Layer.build(ofMemory(etcd)),
              (context) => registered.pipe(Effect.provide(context), Scope.provide(outer))
            ))
          )
        )
    ],
    [
      "a ManagedRuntime of Registry.layer is disposed first",
      (etcd) =>
        Effect.gen(function* () {
          const outer = yield* Effect.scope
          const runtime = ManagedRuntime.make(ofMemory(etcd))
          const context = yield* runtime.contextEffect
          const registration = yield* registered.pipe(Effect.provide(context), Scope.provide(outer))
          yield* runtime.disposeEffect
          return registration
        })
    ]
  ]
  for (const [title, compose] of compositions) {
    verify(`a registration is released with its registry when ${title} (R5)`, (log) =>
      Effect.gen(function* () {
        const etcd = yield* EtcdMemory.make()
        const registration = yield* compose(etcd)
        assert.deepEqual([yield* keysIn(etcd), yield* leasesIn(etcd)], [{}, []])
        assert.deepEqual(
          [(yield* registration.status.get)._tag, yield* registration.leaseId],
          ["Released", Option.none()]
        )
        assert.deepEqual(log.filter((line) => line.startsWith("Warn")), [])
      }))
  }

  verify("a registration with its own client is released with its registry (R5)", () =>
    Effect.gen(function* () {
      const registration = yield* Effect.provide(registered, Registry.layerMemory())
      assert.deepEqual([(yield* registration.status.get)._tag, yield* registration.leaseId], [
        "Released",
        Option.none()
      ])
    }))

  for (
    const [title, options] of [
      ["a lease of its own", a],
      ["drain", { ...a, drain: "20 seconds" }],
      ["a shared lease", { ...a, lease: "shared" }]
    ] as const
  ) {
    verify(
      `a registration with ${title} is released at once if its client has closed before (R5)`,
      (log) =>
        Effect.gen(function* () {
          const client = yield* Scope.make()
          const etcd = yield* EtcdMemory.make().pipe(Scope.provide(client))
          const scope = yield* Scope.make()
          const registration = yield* Layer.build(ofMemory(etcd)).pipe(
            Effect.flatMap((context) => Effect.provide(registerService("orders", options), context)),
            Scope.provide(scope)
          )
          yield* Scope.close(client, Exit.void)
          const released = yield* start(Scope.close(scope, Exit.void))
          assert.deepEqual(released.exit(), Exit.void)
          assert.equal((yield* registration.status.get)._tag, "Released")
          assert.ok(log.some((line) => line.startsWith("Warn")), log.join("\n"))
        })
    )
  }

  verify("a registry that closes waits for the releases that are under way (R5)", (log) =>
    Effect.gen(function* () {
      const etcd = yield* EtcdMemory.make()
      let isClosed = false
      // Each revoke takes a second, and fails once the client has closed.
      const slow: Etcd = {
        ...etcd,
        leaseRevoke: (id) =>
          Effect.delay(
            Effect.suspend(() => isClosed ? Effect.die("the client has closed") : etcd.leaseRevoke(id)),
            1000
          )
      }
      const client = yield* Scope.make()
      yield* Scope.addFinalizer(client, Effect.sync(() => isClosed = true))
      const context = yield* Layer.build(ofMemory(slow)).pipe(Scope.provide(client))
      const scope = yield* Scope.make()
      yield* registered.pipe(Effect.provide(context), Scope.provide(scope))
      const released = yield* start(Scope.close(scope, Exit.void))
      const closed = yield* start(Scope.close(client, Exit.void))
      yield* elapse("999 millis")
      assert.deepEqual([released.exit(), closed.exit()], [undefined, undefined])
      yield* elapse("1 millis")
      assert.deepEqual([released.exit(), closed.exit()], [Exit.void, Exit.void])
      assert.deepEqual([yield* keysIn(etcd), yield* leasesIn(etcd)], [{}, []])
      assert.deepEqual(log.filter((line) => line.startsWith("Warn")), [])
    }))

  verify("registerService fails with InvalidOption when its registry has closed (R5)", () =>
    Effect.gen(function* () {
      const etcd = yield* EtcdMemory.make()
      const context = yield* Effect.scoped(Layer.build(ofMemory(etcd)))
      const error = yield* Effect.flip(Effect.provide(registered, context))
      assert.equal(error._tag === "InvalidOption" && error.option, "registry")
      assert.deepEqual(yield* leasesIn(etcd), [])
    }))

  verify(
    "release without drain revokes the lease and writes nothing else (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        const before = (yield* one.faults.calls()).length
        yield* kept.release
        assert.deepEqual((yield* one.faults.calls()).slice(before).map(({ method }) => method), ["leaseRevoke"])
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        yield* elapse("1 hour")
        assert.equal((yield* one.faults.calls()).length, before + 1)
        assert.equal((yield* Effect.flip(kept.registration.update({ weight: 2 })))._tag, "InvalidOption")
        assert.deepEqual(yield* kept.registration.leaseId, Option.none())
      })
  )

  for (
    const { title, fault } of [
      { title: "is silent", fault: FaultyEtcd.hung },
      { title: "is unreachable", fault: FaultyEtcd.unavailable }
    ]
  ) {
    for (const lease of ["own", "shared"] as const) {
      for (const drain of [0, 30_000]) {
        verify(
          `release ends after releaseTimeout with a warning if etcd ${title} (${lease} lease, drain ${drain} ms) (R5)`,
          (log) =>
            Effect.gen(function* () {
              const { operator, process } = yield* world
              const one = yield* process()
              const kept = yield* register(one, { ...a, lease, drain, releaseTimeout: "4 seconds" })
              yield* elapse("5 seconds")
              yield* one.faults.set([{ fault }])
              const released = yield* start(kept.release)
              yield* elapse(3999)
              assert.equal(released.exit(), undefined)
              yield* elapse(2)
              assert.deepEqual(released.exit(), Exit.void)
              assert.ok(log.some((line) => /^Warn .*is left to expire/.test(line)), log.join("\n"))
              assertKeyIsLeft(log)
              assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
              yield* elapse("15 seconds")
              assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
            })
        )
      }
    }
  }

  for (const lease of ["own", "shared"] as const) {
    verify(
      `release takes drain and releaseTimeout if etcd stores "draining" late and is silent then (${lease} lease) (R5)`,
      (log) =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process()
          const kept = yield* register(one, { ...a, lease, drain: "10 seconds", releaseTimeout: "4 seconds" })
          yield* one.faults.set([{ method: "txn", times: 1, fault: FaultyEtcd.slow("3 seconds") }])
          const released = yield* start(kept.release)
          yield* elapse("3 seconds")
          assert.match(JSON.stringify(yield* valueOf(operator)), /"status":"draining"/)
          yield* one.faults.set([{ fault: FaultyEtcd.hung }])
          yield* elapse(10_999)
          assert.equal(released.exit(), undefined)
          yield* elapse(2)
          assert.deepEqual(released.exit(), Exit.void)
          assertKeyIsLeft(log)
          yield* elapse("15 seconds")
          assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        })
    )
  }

  verify(
    "release of a shared registration takes no longer than releaseTimeout if the others leave meanwhile (R5, R13)",
    (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const first = yield* register(one, { ...a, lease: "shared" })
        const second = yield* register(one, { ...a, id: "b", lease: "shared" })
        yield* one.faults.set([{ fault: FaultyEtcd.hung }])
        const released = yield* start(first.release)
        yield* elapse("1 second")
        const releasedLater = yield* start(second.release)
        yield* elapse("4 seconds")
        assert.deepEqual([released.exit(), releasedLater.exit()], [Exit.void, Exit.void])
        assert.deepEqual(
          log.filter((line) => line.includes("released")).sort(),
          ["a", "b"].map((id) => `Warn released "/services/orders/${id}", but etcd keeps it until its lease expires`)
        )
      })
  )

  for (
    const { title, options, fault, outageMillis, status } of [
      {
        title: "release of a shared registration during an outage logs that etcd keeps the key (R5, R13)",
        options: { ...a, lease: "shared" },
        fault: FaultyEtcd.hung,
        outageMillis: 0,
        status: "Registered"
      },
      {
        title: "release logs that etcd keeps the key if a lease that was lost cannot be revoked (R5)",
        options: a,
        fault: FaultyEtcd.unavailable,
        outageMillis: 30_000,
        status: "Recovering"
      }
    ] as const
  ) {
    verify(title, (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const kept = yield* register(one, { ...options, releaseTimeout: "4 seconds" })
        yield* register(one, { ...options, id: "b" })
        yield* one.faults.set([{ fault }])
        yield* elapse(outageMillis)
        assert.equal(yield* statusOf(kept), status)
        const released = yield* start(kept.release)
        yield* elapse("4 seconds")
        assert.deepEqual(released.exit(), Exit.void)
        assertKeyIsLeft(log)
      }))
  }

  verify(
    "each of the shared registrations that are released at once in an outage logs that etcd keeps its key (R5, R13)",
    (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const ids = ["a", "b", "c"]
        const all = yield* Effect.forEach(ids, (id) => register(one, { ...a, id, lease: "shared" }))
        yield* one.faults.set([{ fault: FaultyEtcd.unavailable }])
        const released = yield* start(Effect.forEach(all, ({ release }) => release, { concurrency: "unbounded" }))
        yield* elapse("6 seconds")
        assert.equal(released.exit()?._tag, "Success")
        assert.deepEqual(
          log.filter((line) => line.includes("released")).sort(),
          ids.map((id) => `Warn released "/services/orders/${id}", but etcd keeps it until its lease expires`)
        )
      })
  )

  verify(
    "release takes no longer than releaseTimeout if the lease is lost at the same moment and etcd is silent (R5)",
    (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const draining = { ...a, drain: "1 second", releaseTimeout: "1 second" } as const
        const first = yield* register(one, draining)
        const second = yield* register(one, { ...draining, id: "b" })
        yield* one.faults.outage
        yield* one.faults.set([{ method: "leaseRevoke", fault: FaultyEtcd.hung }, { fault: FaultyEtcd.unavailable }])
        // Both leases expire at the same time. The status of the first one ends both.
        const released = yield* start(
          first.registration.status.changes.pipe(
            Stream.filter(({ _tag }) => _tag === "Recovering"),
            Stream.runHead,
            Effect.andThen(Effect.all([first.release, second.release], { concurrency: "unbounded" }))
          )
        )
        yield* elapse("15 seconds")
        assert.deepEqual([released.exit(), yield* statusOf(second)], [undefined, "Released"])
        yield* elapse("1 second")
        assert.equal(released.exit()?._tag, "Success")
        assert.ok(log.includes(`Warn released "/services/orders/b", but etcd keeps it until its lease expires`))
      })
  )

  verify(
    "release does not wait for etcd to return if the lease is lost at the same moment (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const draining = { ...a, drain: "1 second" } as const
        const first = yield* register(one, draining)
        const second = yield* register(one, { ...draining, id: "b" })
        yield* one.faults.outage
        // Both leases expire at the same time. The status of the first one ends both.
        const released = yield* start(
          first.registration.status.changes.pipe(
            Stream.filter(({ _tag }) => _tag === "Recovering"),
            Stream.runHead,
            Effect.andThen(Effect.all([first.release, second.release], { concurrency: "unbounded" }))
          )
        )
        yield* elapse("21 seconds")
        const exit = released.exit()
        yield* one.faults.clear
        yield* elapse("1 minute")
        assert.equal(exit?._tag, "Success")
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
      })
  )

  verify(
    "release during an outage publishes nothing, even if etcd returns meanwhile (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one, { ...a, drain: "30 seconds" })
        yield* one.faults.outage
        yield* elapse("30 seconds")
        assert.equal(yield* statusOf(kept), "Recovering")
        const puts = yield* collect(operator.watch({ key: keyOfA }))
        const released = yield* start(kept.release)
        yield* elapse("100 millis")
        yield* one.faults.clear
        yield* elapse("1 minute")
        assert.deepEqual(released.exit(), Exit.void)
        assert.deepEqual(puts.seen.filter(({ _tag }) => _tag === "Events"), [])
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
      })
  )

  verify(
    "a registration that is released while it reports a failed attempt sends no other (R6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "leaseGrant", fault: FaultyEtcd.unavailable }])
        const released = yield* start(
          Effect.gen(function* () {
            const { status } = yield* one.registry.register(orders, { ...a, startup: "background" })
            yield* status.changes.pipe(
              Stream.filter((found) => found._tag === "Registering" && found.attempt === 3),
              Stream.runHead
            )
          }).pipe(Effect.scoped, Effect.andThen(one.faults.set([])))
        )
        yield* elapse("10 seconds")
        assert.deepEqual(released.exit(), Exit.void)
        assert.equal((yield* timesOf(one, "leaseGrant")).length, 2)
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify("release never deletes a key under another lease (R5)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      // It receives no event, so its status is not Superseded.
      yield* one.faults.silenceWatches
      const lease = yield* putInstance(operator, "a")
      yield* kept.release
      assert.deepEqual(yield* keysIn(operator), { [keyOfA]: lease })
    }))

  verify(
    "release waits only for the rest of an earlier drain (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one, { ...a, drain: "20 seconds" })
        yield* kept.registration.drain
        assert.equal(yield* statusOf(kept), "Draining")
        yield* elapse("15 seconds")
        const released = yield* start(kept.release)
        yield* elapse(4999)
        assert.equal(released.exit(), undefined)
        yield* elapse(1)
        assert.deepEqual(released.exit(), Exit.void)
        assert.deepEqual(yield* keysIn(operator), {})
      })
  )

  for (
    const { title, lose } of [
      { title: "its lease is revoked", lose: "revoke" },
      { title: "another process takes its id", lose: "take" }
    ] as const
  ) {
    verify(
      `release ends and puts nothing back if ${title} while it drains (R5)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const kept = yield* register(yield* process(), { ...a, drain: "30 seconds" })
          const released = yield* start(kept.release)
          yield* elapse("5 seconds")
          const [lease = 0n] = yield* leasesIn(operator)
          if (lose === "revoke") yield* operator.leaseRevoke(lease)
          else yield* putInstance(operator, "a")
          const keys = yield* keysIn(operator)
          yield* settle
          assert.deepEqual(released.exit(), Exit.void)
          yield* elapse("1 minute")
          assert.deepEqual(yield* keysIn(operator), keys)
          assert.equal((yield* leasesIn(operator)).includes(lease), false)
          assert.equal(yield* statusOf(kept), lose === "revoke" ? "Released" : "Superseded")
        })
    )
  }

  verify(
    "release puts nothing after draining, even if the key is edited or an update follows (R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const kept = yield* register(yield* process(), { ...a, drain: "30 seconds" })
        const released = yield* start(kept.release)
        const puts = yield* collect(operator.watch({ key: keyOfA }))
        const [lease = 0n] = yield* leasesIn(operator)
        yield* putInstance(operator, "a", { status: "draining", version: "2" }, lease)
        const updated = yield* start(Effect.flip(kept.registration.update({ weight: 2 })))
        yield* elapse("29 seconds")
        assert.equal(puts.seen.filter(({ _tag }) => _tag === "Events").length, 1)
        yield* elapse("1 second")
        assert.deepEqual(released.exit(), Exit.void)
        assert.equal(updated.exit()?._tag, "Success")
      })
  )

  verify("discover emits draining before the instance leaves (R5)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const [one, consumer] = [yield* process(), yield* process()]
      const kept = yield* register(one, { ...a, drain: "5 seconds" })
      const sets = yield* collect(
        consumer.registry.discover(orders).pipe(
          Stream.mapEffect((set) =>
            Effect.map(Clock.currentTimeMillis, (at) => [at, set.size, set.available.length] as const)
          )
        )
      )
      yield* start(kept.release)
      yield* elapse("5 seconds")
      yield* elapse("5 seconds")
      assert.deepEqual(sets.seen, [[0, 1, 1], [0, 1, 0], [5000, 0, 0]])
    }))

  verify("a draining registration is still draining after a loss (R5)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      yield* kept.registration.drain
      yield* operator.deleteRange({ key: keyOfA })
      yield* elapse("5 seconds")
      assert.equal(yield* statusOf(kept), "Draining")
      assert.equal((yield* valueOf(operator) as Effect.Effect<{ status: string }>).status, "draining")
    }))
})

describe("health", () => {
  /** A health check whose result the test controls. */
  const gated = Effect.fnUntraced(function* (options: { readonly healthThreshold?: number } = {}) {
    const { operator, process } = yield* world
    const one = yield* process()
    const check = { fails: true, hangs: false, runs: 0 }
    const kept = yield* register(one, {
      ...a,
      health: Effect.suspend(() => {
        check.runs++
        return check.hangs ? Effect.never : check.fails ? Effect.fail("unhealthy") : Effect.void
      }),
      healthEvery: "1 second",
      ...options
    })
    const status = Effect.map(
      valueOf(operator) as Effect.Effect<{ readonly status: string } | undefined>,
      (value) => value?.status
    )
    return { check, kept, operator, one, status }
  })

  verify(
    "health publishes starting until the first success, then up (R11)",
    () =>
      Effect.gen(function* () {
        const { check, one, status } = yield* gated()
        assert.equal(yield* status, "starting")
        assert.equal((yield* one.registry.getInstances(orders)).available.length, 0)
        yield* elapse("30 seconds")
        // Failures before the first success count, too: it is down after three.
        assert.equal(yield* status, "down")
        check.fails = false
        yield* elapse("1 second")
        assert.equal(yield* status, "up")
        assert.equal((yield* one.registry.getInstances(orders)).available.length, 1)
      })
  )

  for (const threshold of [undefined, 1, 5]) {
    verify(
      `health publishes down after exactly ${threshold ?? "the default of 3"} consecutive failures, and up again (R11)`,
      () =>
        Effect.gen(function* () {
          const { check, kept, status } = yield* gated(threshold === undefined ? {} : { healthThreshold: threshold })
          const failures = threshold ?? 3
          check.fails = false
          yield* elapse("2 seconds")
          check.fails = true
          if (failures > 1) {
            yield* elapse((failures - 1) * 1000)
            check.fails = false
            yield* elapse("1 second")
            // One success resets the count.
            check.fails = true
            yield* elapse((failures - 1) * 1000)
          }
          assert.equal(yield* status, "up")
          yield* elapse("1 second")
          assert.equal(yield* status, "down")
          check.fails = false
          yield* elapse("1 second")
          assert.equal(yield* status, "up")
          assert.deepEqual(kept.statuses, [[0, "Registered"]])
        })
    )
  }

  verify("a health check without a result fails after healthEvery (R11)", () =>
    Effect.gen(function* () {
      const { check, status } = yield* gated()
      check.fails = false
      yield* elapse("1 second")
      check.hangs = true
      // Each takes a second to time out and is followed by a pause of one.
      yield* elapse("5 seconds")
      assert.equal(yield* status, "up")
      yield* elapse("2 seconds")
      assert.equal(yield* status, "down")
    }))

  verify("a registration comes back after a loss with its current health (R11)", () =>
    Effect.gen(function* () {
      const { check, operator, status } = yield* gated()
      check.fails = false
      yield* elapse("1 second")
      yield* operator.deleteRange({ key: keyOfA })
      yield* elapse("1 second")
      assert.equal(yield* status, "up")
      check.fails = true
      yield* elapse("5 seconds")
      yield* operator.deleteRange({ key: keyOfA })
      yield* elapse("1 second")
      assert.equal(yield* status, "down")
    }))

  verify(
    "a draining instance stays draining, whatever its health, and its checks end with the scope (R11)",
    () =>
      Effect.gen(function* () {
        const { check, kept, status } = yield* gated()
        check.fails = false
        yield* elapse("1 second")
        yield* kept.registration.drain
        check.fails = true
        yield* elapse("10 seconds")
        check.fails = false
        yield* elapse("10 seconds")
        assert.equal(yield* status, "draining")
        yield* kept.release
        yield* settle
        const { runs } = check
        yield* elapse("1 hour")
        assert.equal(check.runs, runs)
      })
  )

  verify(
    "registration.health has the last result with its cause, and each change is logged (R11)",
    (log) =>
      Effect.gen(function* () {
        const { check, kept } = yield* gated()
        const health = Effect.map(kept.registration.health, Option.getOrThrow)
        yield* elapse("500 millis")
        assert.deepEqual(yield* health, { status: "starting", lastResult: Exit.fail("unhealthy"), since: 0 })
        yield* elapse("2 seconds")
        assert.deepEqual(yield* health, { status: "down", lastResult: Exit.fail("unhealthy"), since: 0 })
        check.fails = false
        yield* elapse("1 second")
        assert.deepEqual(yield* health, { status: "up", lastResult: Exit.void, since: 3000 })
        yield* elapse("5 seconds")
        assert.deepEqual(
          log.filter((line) => line.includes("health")),
          [
            `Warn "${keyOfA}" is down: its health check failed 3 times in a row`,
            `Info "${keyOfA}" is up: its health check succeeded`
          ]
        )
      })
  )

  verify("a health check that dies counts as a failure, and its cause is kept (R11)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      const { registration } = yield* register(one, {
        ...a,
        health: Effect.die(new Error("boom")),
        healthEvery: "1 second"
      })
      yield* elapse("3 seconds")
      const health = Option.getOrThrow(yield* registration.health)
      assert.equal(health.status, "down")
      assert.ok(Exit.isFailure(health.lastResult) && Exit.hasDies(health.lastResult))
      assert.equal((yield* registration.status.get)._tag, "Registered")
    }))

  verify(
    "after an outage the newest health is published, not a result from before it (R11)",
    () =>
      Effect.gen(function* () {
        const { check, kept, one, operator, status } = yield* gated()
        check.fails = false
        yield* elapse("1 second")
        yield* one.faults.outage
        check.fails = true
        yield* elapse("10 seconds")
        check.fails = false
        yield* elapse("20 seconds")
        const puts = yield* collect(operator.watch({ key: keyOfA }))
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.equal(yield* status, "up")
        const values = puts.seen.flatMap((answer) => answer._tag === "Events" ? answer.events : [])
          .map(({ kv }) => JSON.parse(new TextDecoder().decode(kv.value)).status)
        assert.deepEqual(values, ["up"])
      })
  )

  verify(
    "health that flaps every millisecond causes at most one write a second after a burst (R11)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        let runs = 0
        yield* register(one, {
          ...a,
          health: Effect.suspend(() => runs++ % 2 === 0 ? Effect.void : Effect.fail("flaps")),
          healthEvery: "1 millis",
          healthThreshold: 1
        })
        const before = (yield* timesOf(one, "txn")).length
        for (let second = 0; second < 10; second++) yield* elapse("1 second")
        const writes = (yield* timesOf(one, "txn")).length - before
        assert.ok(runs > 1000, `${runs} checks`)
        assert.ok(writes >= 5 && writes <= 17, `${writes} writes`)
        assert.equal((yield* keysIn(operator))[keyOfA] !== undefined, true)
      })
  )
})
