import { Effect, Option, Ref, Stream } from "effect"
import assert from "node:assert/strict"
import { Election, LockLost } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdError } from "../../src/etcd/EtcdError.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { collect, elapse, failureOf, leasesIn, settle, start, verify, withDraw } from "../harness/virtual.ts"
import { hold, lineOf, stage } from "./support.ts"

const name = "/elections/worker"

describe("Election", () => {
  verify(
    "Election.campaign puts its value, and the next candidate leads after a resignation (L1, L4)",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const first = yield* hold(yield* client, Election.campaign(name, "one"))
        const second = yield* hold(yield* client, Election.campaign(name, "two"))
        const leases = [first.held()?.leaseId.toString(16), (yield* leasesIn(operator)).map((id) => id.toString(16))[1]]
        assert.deepEqual(yield* lineOf(operator, name), [`${leases[0]} one`, `${leases[1]} two`])
        yield* first.held()?.resign ?? Effect.void
        yield* settle
        assert.deepEqual(yield* lineOf(operator, name), [`${leases[1]} two`])
        assert.ok(second.held() !== undefined)
      })
  )

  verify("Leadership.proclaim publishes another value under the same key and lease", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* hold(yield* client, Election.campaign(name, "one"))
      const leadership = one.held()
      assert.ok(leadership !== undefined)
      yield* leadership.proclaim("one again")
      const { kvs: [kv] } = yield* operator.range({ key: leadership.key })
      assert.deepEqual(
        [kv?.lease, kv?.createRevision, new TextDecoder().decode(kv?.value)],
        [leadership.leaseId, leadership.revision, "one again"]
      )
    }))

  verify("Leadership.proclaim fails with LockLost after the leadership is lost (L6)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* hold(yield* client, Election.campaign(name, "one"))
      const leadership = one.held()
      assert.ok(leadership !== undefined)
      yield* operator.deleteRange({ key: leadership.key })
      assert.ok((yield* Effect.flip(leadership.proclaim("x"))) instanceof LockLost)
      assert.deepEqual(yield* lineOf(operator, name), [])
    }))

  verify(
    "Election.observe emits None, each leader and each value, and never the same twice",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const observer = yield* client
        const { exit, seen } = yield* collect(
          Election.observe(name).pipe(
            Stream.map(Option.match({ onNone: () => "none", onSome: ({ value }) => value })),
            Stream.provideService(Etcd, observer.etcd)
          )
        )
        const first = yield* hold(yield* client, Election.campaign(name, "one"))
        const second = yield* hold(yield* client, Election.campaign(name, "two"))
        yield* first.held()?.proclaim("one again") ?? Effect.void
        yield* settle
        yield* observer.faults.breakWatches()
        yield* elapse("10 seconds")
        yield* first.release
        yield* settle
        yield* second.release
        yield* settle
        assert.deepEqual(seen, ["none", "one", "one again", "two", "none"])
        assert.equal(exit(), undefined)
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify("Election.observe shows the create revision as the fencing token of a leader", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* hold(yield* client, Election.campaign(name, "one"))
      const leader = yield* Election.observe(name).pipe(
        Stream.runHead,
        Effect.map(Option.flatten),
        Effect.map(Option.getOrUndefined),
        Effect.provideService(Etcd, operator)
      )
      const { key, leaseId, revision } = one.held() ?? {}
      assert.deepEqual(leader, { key, leaseId, revision, value: "one" })
    }))

  verify("Election.observe fails with what etcd refuses", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const one = yield* client
      yield* one.faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
      const failure = yield* Election.observe(name).pipe(
        Stream.runDrain,
        Effect.flip,
        Effect.provideService(Etcd, one.etcd)
      )
      assert.ok(failure instanceof EtcdError && failure.reason._tag === "PermissionDenied")
    }))

  verify(
    "Election.whileLeader runs its effect on one process at a time and campaigns again after a loss (L6)",
    (log) =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const running = yield* Ref.make<ReadonlyArray<string>>([])
        const worker = (who: string) =>
          Effect.acquireUseRelease(
            Ref.update(running, (all) => [...all, who]),
            () => Effect.never,
            () => Ref.update(running, (all) => all.filter((other) => other !== who))
          )
        for (const who of ["one", "two"]) {
          const { etcd } = yield* client
          yield* start(Effect.provideService(Election.whileLeader(name, who)(worker(who)), Etcd, etcd))
        }
        assert.deepEqual(yield* Ref.get(running), ["one"])
        const [first = ""] = yield* lineOf(operator, name)
        yield* operator.leaseRevoke(BigInt(`0x${first.split(" ")[0]}`))
        yield* elapse("10 seconds")
        assert.deepEqual(yield* Ref.get(running), ["two"])
        const [second = ""] = yield* lineOf(operator, name)
        yield* operator.deleteRange({ key: `${name}/${second.split(" ")[0]}` })
        yield* elapse("10 seconds")
        assert.deepEqual(yield* Ref.get(running), ["one"])
        assert.equal(log.filter((line) => line.startsWith('Warn lost "/elections/worker"')).length, 2)
      }).pipe(withDraw(1))
  )

  verify("Election.whileLeader fails as its effect does, and the next candidate leads", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const one = yield* client
      const failing = yield* start(
        Effect.provideService(
          Election.whileLeader(name, "one")(Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))),
          Etcd,
          one.etcd
        )
      )
      const second = yield* hold(yield* client, Election.campaign(name, "two"))
      yield* elapse("1 second")
      assert.equal(failureOf(failing), "broken")
      assert.ok(second.held() !== undefined)
    }))

  verify(
    "Election.whileLeader leads on after its effect succeeded, and does not run it twice",
    () =>
      Effect.gen(function* () {
        const { client } = yield* stage
        const one = yield* client
        const runs = yield* Ref.make(0)
        yield* start(
          Effect.provideService(
            Election.whileLeader(name, "one")(Ref.update(runs, (count) => count + 1)),
            Etcd,
            one.etcd
          )
        )
        const second = yield* hold(yield* client, Election.campaign(name, "two"))
        yield* elapse("1 minute")
        assert.equal(yield* Ref.get(runs), 1)
        assert.equal(second.held(), undefined)
      })
  )

  verify("Election.whileLeader resigns if it is interrupted (L5)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      const leading = yield* start(
        Effect.provideService(Election.whileLeader(name, "one")(Effect.never), Etcd, one.etcd)
      )
      yield* leading.interrupt
      assert.deepEqual([yield* lineOf(operator, name), yield* leasesIn(operator)], [[], []])
    }))
})
