import { Arbitrary, Duration, Effect, Equal, HashMap, Option, Random, Result, Schedule } from "effect"
import assert from "node:assert/strict"
import { byId, isAvailable, type ServiceInstance } from "../../../src/registry/model/Instance.ts"
import * as InstanceSet from "../../../src/registry/model/InstanceSet.ts"
import * as Keyspace from "../../../src/registry/model/Keyspace.ts"
import { layoutOf } from "../../../src/registry/model/Layout.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import * as Backoff from "../../../src/etcd/Backoff.ts"
import type { KeyValue } from "../../../src/etcd/messages/kv.ts"
import { whenPrepared } from "../../../src/registry/discovery/Model.ts"
import * as Protection from "../../../src/registry/discovery/Protection.ts"
import { ServiceModel } from "../../../src/registry/discovery/ServiceModel.ts"
import { describe, live } from "../../harness/it.ts"
import { int, oneOf, property, text } from "./property.ts"
import { Freshness } from "../../../src/etcd/Freshness.ts"

const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))

const instance = (id: string, members: Partial<ServiceInstance> = {}): ServiceInstance => ({
  id,
  name: "orders",
  metadata: {},
  endpoints: [`http://${id}:1`],
  weight: 1,
  status: "up",
  ...members
})

const instances: Arbitrary.Arbitrary<ReadonlyArray<ServiceInstance>> = Arbitrary.array(
  Arbitrary.map(
    Arbitrary.all([text, int(0, 2), oneOf("up", "starting", "draining", "down")]),
    ([id, weight, status]) => instance(id, { weight, status })
  ),
  { maxLength: 12 }
)

/** One change of a set: an id gets another weight, or goes. */
const steps = Arbitrary.array(Arbitrary.all([int(0, 9), int(0, 3)]), { maxLength: 40 })

/** The sets of one watch, each with its history, after each step. */
const setsAfter = (given: ReadonlyArray<readonly [number, number]>): ReadonlyArray<InstanceSet.InstanceSet> => {
  const history = new InstanceSet.History()
  let members: HashMap.HashMap<string, ServiceInstance> = HashMap.empty()
  const set = (changed: ReadonlyArray<string>, revision: number) =>
    InstanceSet.make({
      byId: members,
      revision: BigInt(revision),
      freshness: Freshness.Live(),
      rejected: HashMap.empty(),
      held: new Map(),
      history,
      sequence: history.append(changed)
    })
  return [
    set([], 0),
    ...given.map(([number, weight], index) => {
      const id = `i${number}`
      members = weight === 0 ? HashMap.remove(members, id) : HashMap.set(members, id, instance(id, { weight }))
      return set([id], index + 1)
    })
  ]
}

/** The set that the changes make of the one before. */
const applied = (before: InstanceSet.InstanceSet, changes: ReadonlyArray<InstanceSet.Change>) => {
  const result = new Map(before.instances.map((one) => [one.id, one]))
  for (const change of changes) {
    assert.equal(result.has(change.instance.id), change._tag !== "Added")
    if (change._tag === "Updated") assert.equal(result.get(change.instance.id), change.previous)
    if (change._tag === "Removed") result.delete(change.instance.id)
    else result.set(change.instance.id, change.instance)
  }
  return [...result.values()].sort(byId)
}

describe("InstanceSet", () => {
  property("InstanceSet derives each member from its instances", instances, (given) => {
    const set = InstanceSet.fromInstances(given, 7n)
    const expected = [...new Map(given.map((one) => [one.id, one])).values()].sort(byId)
    assert.deepEqual(set.instances, expected)
    assert.deepEqual([...set], expected)
    assert.deepEqual([set.size, set.revision], [expected.length, 7n])
    assert.deepEqual(set.available, expected.filter(({ status, weight }) => status === "up" && weight > 0))
    assert.deepEqual(set.endpoints, set.available.flatMap(({ endpoints }) => endpoints))
    for (const one of expected) {
      assert.equal(Option.getOrUndefined(set.get(one.id)), one)
      assert.ok(set.has(one.id))
    }
    for (const id of ["__proto__", "constructor", "none"]) {
      assert.equal(set.has(id), expected.some((one) => one.id === id))
    }
  }, 1000)

  test("InstanceSet builds its arrays once, frozen", () => {
    const set = InstanceSet.fromInstances([instance("b"), instance("a")])
    for (const array of ["instances", "available", "endpoints"] as const) {
      assert.equal(set[array], set[array])
      assert.ok(Object.isFrozen(set[array]))
    }
  })

  test("InstanceSet encodes to JSON, with its revision as text", () => {
    const one = instance("a")
    assert.deepEqual(JSON.parse(JSON.stringify(InstanceSet.fromInstances([one], 2n ** 60n))), {
      _id: "InstanceSet",
      size: 1,
      revision: "1152921504606846976",
      freshness: { _tag: "Live" },
      instances: [one],
      rejected: [],
      held: []
    })
  })

  test("byId orders by code units; isAvailable requires up and a weight", () => {
    const ids = ["b", "a", "B", "", "ä", "a"].map((id) => instance(id)).sort(byId).map(({ id }) => id)
    assert.deepEqual(ids, ["", "B", "a", "a", "b", "ä"])
    assert.equal(byId(instance("a"), instance("a", { weight: 2 })), 0)
    assert.ok(Equal.equals(instance("a"), instance("a")) && !Equal.equals(instance("a"), instance("b")))
    assert.deepEqual(
      [{}, { weight: 0 }, { status: "down" }, { status: "draining" }, { status: "starting" }].map((members) =>
        isAvailable(instance("a", members as Partial<ServiceInstance>))
      ),
      [true, false, false, false, false]
    )
  })
})

describe("diff", () => {
  property("diff of two sets of one watch turns the first into the second", steps, (given) => {
    const sets = setsAfter(given)
    for (
      const [from, to] of [[0, sets.length - 1], [sets.length >> 1, sets.length - 1], [sets.length - 1, 0]] as const
    ) {
      const [before, after] = [sets[from], sets[to]]
      if (before === undefined || after === undefined) continue
      const changes = InstanceSet.diff(before, after)
      assert.deepEqual(applied(before, changes), after.instances)
      // One change for each instance, ordered by id.
      const ids = changes.map((change) => change.instance.id)
      assert.deepEqual(ids, [...new Set(ids)].sort())
    }
  }, 1000)

  property(
    "diff of sets without a common history turns the first into the second; without a first set all is Added",
    Arbitrary.all([instances, instances]),
    ([first, second]) => {
      const [before, after] = [InstanceSet.fromInstances(first), InstanceSet.fromInstances(second)]
      assert.deepEqual(applied(before, InstanceSet.diff(before, after)), after.instances)
      assert.deepEqual(InstanceSet.diff(after, after), [])
      assert.deepEqual(
        InstanceSet.diff(undefined, after),
        after.instances.map((instance) => ({ _tag: "Added", instance }))
      )
    }
  )

  test("diff is correct over more steps than the history stores", () => {
    const given = Array.from({ length: 5000 }, (_, index): readonly [number, number] => [index % 10, index % 4])
    const sets = setsAfter(given)
    const last = sets.at(-1) ?? assert.fail()
    for (const from of [0, 1, 3975, 3976, 3977, 4000, 4999]) {
      const before = sets[from] ?? assert.fail()
      assert.deepEqual(applied(before, InstanceSet.diff(before, last)), last.instances, String(from))
    }
  })
})

describe("History", () => {
  property(
    "History.between returns the ids of the last 1,024 steps, and undefined for older ones",
    Arbitrary.all([int(0, 3000), int(0, 1100), int(-1, 1100)]),
    ([count, back, length]) => {
      const history = new InstanceSet.History()
      for (let step = 1; step <= count; step++) assert.equal(history.append([`s${step}`]), step)
      const from = count - Math.min(back, count)
      const to = Math.min(from + length, count)
      const known = history.between(from, to)
      if (from > to || count - from > 1024) return assert.equal(known, undefined)
      const expected = Array.from({ length: to - from }, (_, index) => `s${from + index + 1}`)
      assert.deepEqual([...known ?? []], expected)
    },
    300
  )
})

describe("Protection", () => {
  /** Arrivals and departures of six instances, each with the milliseconds before it. */
  const events = Arbitrary.array(Arbitrary.all([int(0, 5), int(0, 3), int(0, 4000)]), { maxLength: 40 })

  property(
    "Protection holds what disappeared without draining, until it returns or hold has passed",
    Arbitrary.all([events, oneOf(0, 0.3, 0.5, 1)]),
    ([given, maxLoss]) => {
      const protect = { maxLoss, hold: "5 seconds" } as const
      const present = new Map<string, ServiceInstance>()
      const leftAt = new Map<string, number>()
      let protection: Protection.Protection<Readonly<Record<string, string>>> = Protection.initial
      let now = 0
      const move = (left: ReadonlyArray<ServiceInstance>) => {
        protection = Protection.step(protect, protection, {
          now,
          left,
          isPresent: (id) => present.has(id),
          present: present.size
        })
      }
      for (const [number, kind, wait] of given) {
        now += wait
        const id = `i${number}`
        const before = present.get(id)
        if (kind === 0 && before !== undefined) {
          present.delete(id)
          if (before.status !== "draining") leftAt.set(id, now)
          move([before])
        } else {
          present.set(id, instance(id, { status: kind === 1 ? "draining" : "up" }))
          move([])
        }
        for (const [heldId] of Protection.held(protection)) {
          assert.ok(!present.has(heldId))
          assert.ok(now < (leftAt.get(heldId) ?? -Infinity) + 5000, "held for longer than hold")
        }
        const { size } = protection.losses
        if (size > maxLoss * (present.size + size)) assert.equal(Protection.held(protection).size, size)
        if (size > 0) assert.ok((Protection.nextExit(protection) ?? Infinity) <= now + 5000)
      }
      now += 5000
      move([])
      assert.deepEqual([Protection.held(protection), Protection.nextExit(protection)], [new Map(), undefined])
    },
    1000
  )

  live("ServiceModel holds and releases 130,000 instances that vanish at once (D10)", () =>
    Effect.gen(function* () {
      const service = Service.make("orders")
      const layout = layoutOf(service, Result.getOrThrow(Keyspace.make("/services")))
      const settings = { leaseless: "accept", maxValueBytes: 1000 } as const
      const model = new ServiceModel(service, layout, settings, { maxLoss: 0.5, hold: 1000 })
      const list = (kvs: ReadonlyArray<KeyValue>, now: number) =>
        Effect.map(whenPrepared(model.prepare({ _tag: "Listed", revision: 2n, kvs })), (commit) => commit(now))
      const value = new TextEncoder().encode('{"endpoints":["http://a:80"]}')
      const all = Array.from({ length: 130_000 }, (_, index) => ({
        key: new TextEncoder().encode(`/services/orders/${index}`),
        value,
        createRevision: 1n,
        modRevision: 1n,
        version: 1n,
        lease: 0n
      }))
      yield* list(all, 0)
      yield* list([], 1)
      assert.equal(model.value(2n, Freshness.Live()).held.length, all.length)
      assert.equal(model.nextRelease(), 1001)
      assert.equal(model.release(1001), true)
      assert.equal(model.value(2n, Freshness.Live()).size, 0)
    }))

  test("Protection starts above maxLoss, not at exactly maxLoss", () => {
    const all = ["a", "b", "c", "d"].map((id) => instance(id))
    const lose = (count: number) =>
      Protection.held(Protection.step({ maxLoss: 0.5, hold: 1000 }, Protection.initial, {
        now: 0,
        left: all.slice(0, count),
        isPresent: (id) => all.slice(count).some((one) => one.id === id),
        present: all.length - count
      })).size
    assert.deepEqual([lose(0), lose(1), lose(2), lose(3), lose(4)], [0, 0, 0, 3, 4])
  })
})

describe("Backoff", () => {
  /** The first delays of a schedule in milliseconds. */
  const delays = Effect.fnUntraced(function* (schedule: Schedule.Schedule<unknown>, count: number) {
    const step = yield* Schedule.toStep(schedule)
    const found: Array<number> = []
    for (let index = 0; index < count; index++) {
      const [, delay] = yield* Effect.orDie(step(0, undefined) as Effect.Effect<[unknown, Duration.Duration]>)
      found.push(Duration.toMillis(delay))
    }
    return found
  })

  for (
    const { name, schedule, base, cap, factor } of [
      { name: "standard", schedule: Backoff.standard, base: 100, cap: 5000, factor: 1.06 },
      { name: "heartbeat", schedule: Backoff.heartbeat, base: 50, cap: 500, factor: 2 },
      { name: "fullJitter(20 ms, 90 ms)", schedule: Backoff.fullJitter(20, 90), base: 20, cap: 90, factor: 2 }
    ]
  ) {
    live(
      `Backoff.${name} grows by ${factor} from ${base} ms to ${cap} ms with full jitter, without an end`,
      () =>
        Effect.gen(function* () {
          const limits = Array.from({ length: 200 }, (_, index) => Math.min(cap, base * factor ** index))
          const whole = delays(schedule, 200).pipe(
            Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 1, nextIntUnsafe: () => 0 })
          )
          for (const [index, delay] of (yield* whole).entries()) {
            const limit = limits[index] ?? NaN
            assert.ok(Math.abs(delay - limit) < 0.01, `delay ${index} is ${delay}, not ${limit}`)
          }
          const drawn = yield* Effect.all(
            Array.from({ length: 50 }, (_, seed) => delays(schedule, 200).pipe(Random.withSeed(seed)))
          )
          const shares = drawn.flatMap((one) => one.map((delay, index) => delay / (limits[index] ?? NaN)))
          assert.ok(shares.every((share) => share >= 0 && share <= 1))
          for (let tenth = 0; tenth < 10; tenth++) {
            const count = shares.filter((share) => Math.floor(share * 10) === tenth).length
            assert.ok(count > 850 && count < 1150, `${count} of 10,000 draws in the tenth ${tenth}`)
          }
        })
    )
  }
})
