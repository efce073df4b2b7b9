import { Arbitrary, Effect, Exit, Fiber, Option, Random, Result } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import * as Balancer from "../../src/balancing/Balancer.ts"
import { isAvailable, type ServiceInstance } from "../../src/registry/model/Instance.ts"
import type { InstanceSet } from "../../src/registry/model/InstanceSet.ts"
import { describe, effect, live } from "../harness/it.ts"
import { panic } from "../../examples/strategies/panic.ts"
import { ringSubset } from "../../examples/strategies/ringSubset.ts"
import { InvalidOption } from "../../src/internal/options.ts"
import { int, oneOf, property } from "../registry/model/property.ts"
import { balancerOf, counted, equal, instance, picks, seeded, setOf, Watched, weighted } from "./strategiesSupport.ts"

const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))

const plain: ReadonlyArray<Balancer.Strategy> = [
  Balancer.roundRobin,
  Balancer.random,
  Balancer.leastRequests,
  Balancer.peakEwma(),
  Balancer.consistentHash()
]

const inZoneA = Balancer.zoneAware({ zone: "a", minLocal: 2 })

const notI3 = Balancer.filter(({ id }) => id !== "i3")

/** Each strategy, and what it may choose of a set. */
const strategies: ReadonlyArray<{
  readonly strategy: Balancer.Strategy
  readonly among: (set: InstanceSet) => ReadonlyArray<ServiceInstance>
  /** Whether there is always one while one of those is not excluded. */
  readonly always: boolean
}> = [
  ...plain.map((strategy) => ({ strategy, among: (set: InstanceSet) => set.available, always: true })),
  ...plain.map((strategy) => ({
    strategy: strategy.pipe(inZoneA),
    among: (set: InstanceSet) => set.available,
    always: true
  })),
  ...plain.map((strategy) => ({
    strategy: strategy.pipe(notI3, Balancer.slowStart(50)),
    among: (set: InstanceSet) => set.available.filter(({ id }) => id !== "i3"),
    always: true
  })),
  ...plain.map((strategy) => ({
    strategy: strategy.pipe(panic(0.5)),
    among: (set: InstanceSet) => {
      const withWeight = set.instances.filter(({ weight }) => weight > 0)
      return set.available.length < withWeight.length / 2 ? withWeight : set.available
    },
    always: true
  })),
  ...plain.map((within) => ({
    strategy: ringSubset({ size: 3, clientId: 5, within }),
    among: (set: InstanceSet) => set.available,
    always: false
  })),
  {
    strategy: ringSubset({ size: 3, clientId: 5, within: Balancer.peakEwma() }).pipe(
      Balancer.slowStart(50),
      panic(0.5),
      inZoneA
    ),
    among: (set) => set.instances.filter(({ weight }) => weight > 0),
    always: false
  }
]

/** What happens to a balancer: an instance is put, one leaves, calls begin and end, time passes. */
const steps = Arbitrary.array(
  Arbitrary.all([
    oneOf("put", "put", "remove", "call", "call", "call", "end", "wait"),
    int(0, 7),
    oneOf(0, 0.1, 1, 1, 2, 1e9),
    oneOf("up", "up", "up", "starting", "draining", "down"),
    oneOf("a", "b", ""),
    int(0, 255)
  ]),
  { maxLength: 60 }
)

for (const { always, among, strategy } of strategies) {
  describe(strategy.name, () => {
    property(
      `${strategy.name} picks available instances that are not excluded, and forgets those that left`,
      Arbitrary.all([steps, int(0, 2 ** 31)]),
      ([given, seed]) => {
        const watched = new Watched()
        const balancer = Result.getOrThrow(Balancer.make(strategy))
        const random = seeded(seed)
        const open: Array<ReturnType<typeof balancer.begin>> = []
        let now = 0
        for (const [what, number, weight, status, zone, mask] of given) {
          const id = `i${number}`
          if (what === "wait") now += mask
          if (what === "end") open.pop()?.({ now, ok: mask % 2 === 0 })
          if (what === "put") {
            const one = instance(id, { weight, status, ...(zone === "" ? {} : { zone }) })
            balancer.update(watched.put(one), now)
          }
          if (what === "remove") balancer.update(watched.remove(id), now)
          if (what === "call") {
            const exclude = (other: string) => (mask >> Number(other.slice(1)) & 1) === 1
            const picked = balancer.pick({
              now,
              random,
              ...(number % 2 === 0 ? {} : { exclude }),
              ...(number % 3 === 0 ? {} : { key: `key ${mask}` })
            })
            const candidates = among(watched.set).filter((one) => number % 2 === 0 || !exclude(one.id))
            assert.ok(picked === undefined || candidates.includes(picked), `${picked?.id} is no candidate`)
            if (picked !== undefined) open.push(balancer.begin(picked.id, now))
            else assert.ok(!always || candidates.length === 0, "there was one to choose")
          }
          const known = [...balancer.inspect(now).keys()]
          assert.deepEqual(known.filter((other) => !watched.set.has(other)), [])
          assert.equal(new Set(known).size, known.length)
        }
      },
      60
    )

    property(
      `${strategy.name} makes the same picks from the same inputs`,
      int(0, 2 ** 31),
      (seed) => {
        const run = () => {
          const balancer = balancerOf(strategy, weighted(1, 2, 3, 1, 0.5))
          return picks(balancer, 40, { now: 0, random: seeded(seed) })
        }
        assert.deepEqual(run(), run())
      },
      5
    )
  })
}

for (const strategy of [...plain, ...plain.map(Balancer.slowStart("1 second")), ...plain.map(panic(0.5))]) {
  describe(strategy.name, () => {
    property(
      `${strategy.name} starves no instance with a weight above 0`,
      Arbitrary.all([
        Arbitrary.array(oneOf(0.5, 1, 2, 5), { minLength: 1, maxLength: 8 }),
        int(0, 2 ** 31),
        int(0, 5)
      ]),
      ([given, seed, parallel]) => {
        const instances = weighted(...given)
        const balancer = balancerOf(strategy, instances)
        const random = seeded(seed)
        const seen = new Set<string>()
        const open: Array<ReturnType<typeof balancer.begin>> = []
        // Chance leaves one out once in e^40 times: its share is 1 / 71 at least.
        for (let now = 0; now < 3_000 && seen.size < instances.length; now++) {
          const picked = balancer.pick({ now, random })
          if (picked === undefined) continue
          seen.add(picked.id)
          open.push(balancer.begin(picked.id, now))
          if (open.length > parallel) open.shift()?.({ now: now + 1, ok: true })
        }
        assert.deepEqual([...seen].sort(), instances.map(({ id }) => id))
      },
      20
    )
  })
}

/** Weights that codecs of the user's own may produce, and the largest that a JSON text can have. */
const extremes = oneOf(5e-324, 1e-300, 1e-9, 0.5, 1, 3, 1e9, 1e15, 1e306, Number.MAX_VALUE, Infinity, 0, -1, NaN)

describe("every strategy with extreme numbers", () => {
  for (const { strategy } of strategies) {
    property(
      `${strategy.name} picks only instances with a weight above 0, and finite times, with extreme weights and times`,
      Arbitrary.all([
        Arbitrary.array(Arbitrary.all([int(0, 7), extremes]), { minLength: 1, maxLength: 24 }),
        Arbitrary.array(oneOf(0, 1, 1e3, 1e9, 1e12, Number.MAX_SAFE_INTEGER, 1e300, -1e9), { maxLength: 8 }),
        int(0, 2 ** 31)
      ]),
      ([puts, times, seed]) => {
        const balancer = Result.getOrThrow(Balancer.make(strategy))
        const random = seeded(seed)
        const watched = new Watched()
        let now = 0
        for (const [number, weight] of puts) {
          balancer.update(watched.put(instance(`i${number}`, { weight, zone: "a" })), now)
          now += times[number] ?? 1
          const picked = balancer.pick({ now, random, key: `key ${number}` })
          if (picked === undefined) {
            const isAlways = !strategy.name.includes("filter")
            assert.ok(!isAlways || watched.set.available.length === 0, "there was one to pick")
            continue
          }
          assert.ok(picked.weight > 0, `${picked.id} has the weight ${picked.weight}`)
          balancer.begin(picked.id, now)({ now: now + (times[number] ?? 0), ok: number % 2 === 0 })
          for (const [id, inspection] of balancer.inspect(now)) {
            for (const [name, value] of Object.entries(inspection)) {
              assert.ok(Number.isFinite(value), `${name} of ${id} is ${value}`)
            }
          }
        }
      },
      40
    )
  }

  for (const strategy of plain) {
    property(
      `${strategy.name} splits its picks evenly between instances of the same extreme weight`,
      Arbitrary.all([oneOf(5e-324, 1e-300, 1, 1e9, 1e306, Number.MAX_VALUE, Infinity), int(0, 2 ** 31)]),
      ([weight, seed]) => {
        const balancer = balancerOf(strategy, weighted(weight, weight))
        const random = seeded(seed)
        const ids = Array.from(
          { length: 2000 },
          (_, call) => balancer.pick({ now: call, random, key: String(random()) })?.id ?? "none"
        )
        const count = counted(ids).get("i0") ?? 0
        // Six standard deviations of a fair coin, and the shares of two instances on a ring.
        const [low, high] = strategy.name === "consistentHash" ? [700, 1300] : [865, 1135]
        assert.ok(count > low && count < high, `${count} of 2,000`)
      },
      20
    )
  }

  test("roundRobin keeps shares if all weights grow by a factor of 1e12 at a late virtual time", () => {
    const balancer = balancerOf(Balancer.roundRobin, weighted(1e-6, 2e-6))
    // Virtual time advances by a million for each pick of such small weights.
    picks(balancer, 30_000, { now: 0, random: seeded(38) })
    balancer.update(setOf(weighted(1e6, 0.5e6)), 1)
    const counts = counted(picks(balancer, 30_000, { now: 1, random: seeded(38) }))
    for (const [id, share] of [["i0", 20_000], ["i1", 10_000]] as const) {
      assert.ok(Math.abs((counts.get(id) ?? 0) - share) <= 1, `${id} got ${counts.get(id)}`)
    }
  })
})

describe("every strategy", () => {
  test("every strategy picks undefined without instances, and if all are excluded", () => {
    for (const { strategy } of strategies) {
      const none = balancerOf(strategy)
      assert.equal(none.pick({ now: 0, random: () => 0.5, key: "k" }), undefined)
      none.begin("nobody", 0)({ now: 1, ok: true })
      const some = balancerOf(strategy, equal(5))
      assert.equal(some.pick({ now: 0, random: () => 0.5, key: "k", exclude: () => true }), undefined)
      assert.notEqual(some.pick({ now: 0, random: () => 0.5, key: "k" }), undefined)
    }
  })

  test("a pick among 10,000 instances takes few draws and exclude calls, even if some are excluded (seed 30)", () => {
    const instances = equal(10_000)
    for (const strategy of [Balancer.roundRobin, Balancer.random, Balancer.leastRequests, Balancer.peakEwma()]) {
      const balancer = balancerOf(strategy, instances)
      const next = seeded(30)
      let [draws, asked] = [0, 0]
      const request = {
        now: 0,
        random: () => (draws++, next()),
        exclude: (id: string) => (asked++, id.endsWith("7"))
      }
      picks(balancer, 1, request)
      ;[draws, asked] = [0, 0]
      assert.equal(picks(balancer, 1000, request).length, 1000)
      assert.ok(draws <= 2_500 && asked <= 2_500, `${strategy.name}: ${draws} draws, ${asked} questions`)
    }
  })

  test("every strategy drops the state of a thousand generations of instances", () => {
    for (const { strategy } of strategies) {
      const watched = new Watched()
      const balancer = balancerOf(strategy)
      for (let generation = 0; generation < 1000; generation++) {
        watched.put(...[0, 1, 2].map((i) => instance(`${i}-${generation}`, { zone: "a" })))
        if (generation > 0) watched.remove(...[0, 1, 2].map((i) => `${i}-${generation - 1}`))
        balancer.update(watched.set, generation)
        const picked = balancer.pick({ now: generation, random: () => 0.4, key: "k" })
        assert.ok(picked?.id.endsWith(`-${generation}`))
        if (picked !== undefined) balancer.begin(picked.id, generation)
      }
      assert.ok(balancer.inspect(1000).size <= 3, strategy.name)
    }
  })
})

describe("roundRobin", () => {
  test("roundRobin picks each of equal instances once per round, and continues after a change of the set", () => {
    const watched = new Watched()
    const balancer = balancerOf(Balancer.roundRobin)
    balancer.update(watched.put(...equal(5)), 0)
    const request = { now: 0, random: () => 0.5 }
    assert.deepEqual(picks(balancer, 7, request), ["i2", "i3", "i4", "i0", "i1", "i2", "i3"])
    balancer.update(watched.put(instance("i9")), 1)
    assert.deepEqual(picks(balancer, 6, request), ["i4", "i9", "i0", "i1", "i2", "i3"])
    const excluded = { ...request, exclude: (id: string) => id === "i4" }
    assert.deepEqual(picks(balancer, 5, excluded), ["i9", "i0", "i1", "i2", "i3"])
  })
})

describe("leastRequests", () => {
  test("leastRequests picks the one of two with fewer calls in flight for its weight", () => {
    const balancer = balancerOf(Balancer.leastRequests, weighted(1, 3))
    const random = seeded(31)
    const counts = counted(Array.from({ length: 400 }, () => {
      const id = balancer.pick({ now: 0, random })?.id ?? "none"
      balancer.begin(id, 0)
      return id
    }))
    assert.deepEqual([counts.get("i0"), counts.get("i1")], [100, 300])
  })

  test("leastRequests keeps the counts of instances that stay, and forgets those that leave", () => {
    const watched = new Watched()
    const balancer = balancerOf(Balancer.leastRequests)
    balancer.update(watched.put(...equal(3)), 0)
    const inFlight = () => Object.fromEntries(Array.from(balancer.inspect(0), ([id, known]) => [id, known["inFlight"]]))
    const end = balancer.begin("i0", 0)
    const endOfGone = balancer.begin("i1", 0)
    balancer.update(watched.put(instance("i0", { status: "down" }), instance("i5")), 1)
    balancer.update(watched.put(instance("i0", { weight: 7 })), 2)
    balancer.update(watched.remove("i1"), 3)
    assert.deepEqual(inFlight(), { i0: 1, i2: 0, i5: 0 })
    balancer.update(watched.put(instance("i1")), 4)
    endOfGone({ now: 5, ok: true })
    end({ now: 5, ok: true })
    end({ now: 6, ok: false })
    assert.deepEqual(inFlight(), { i0: 0, i1: 0, i2: 0, i5: 0 })
  })
})

describe("peakEwma", () => {
  const decay = Balancer.peakEwma({ decay: "10 seconds" })
  const near = (found: number | undefined, expected: number) =>
    assert.ok(Math.abs((found ?? Number.NaN) - expected) < 1e-6, `${found} is not ${expected}`)

  test("peakEwma rises at once with a slow call and falls slowly", () => {
    const balancer = balancerOf(decay, equal(2))
    const call = (began: number, ended: number, ok = true) => balancer.begin("i0", began)({ now: ended, ok })
    const ewma = (now: number) => balancer.inspect(now).get("i0")?.["ewmaMillis"]
    assert.equal(ewma(0), undefined)
    call(0, 10)
    near(ewma(10), 10)
    call(10, 210)
    near(ewma(210), 200)
    call(1200, 1210)
    near(ewma(1210), 10 + 190 * Math.exp(-0.1))
    near(ewma(11_210), (10 + 190 * Math.exp(-0.1)) * Math.exp(-1))
  })

  test("peakEwma is not lowered by fast failures", () => {
    const balancer = balancerOf(decay, equal(2))
    const ewma = (now: number) => balancer.inspect(now).get("i0")?.["ewmaMillis"]
    balancer.begin("i0", 0)({ now: 100, ok: true })
    for (let i = 0; i < 50; i++) balancer.begin("i0", 5_099)({ now: 5_100, ok: false })
    near(ewma(5_100), 100 * Math.exp(-0.5))
    balancer.begin("i0", 5_100)({ now: 5_400, ok: false })
    near(ewma(5_400), 300)
  })

  test("peakEwma avoids an instance after one slow call, and tries it again later", () => {
    const balancer = balancerOf(decay, equal(3))
    const random = seeded(32)
    for (const [id, took] of [["i0", 10], ["i1", 10], ["i2", 200]] as const) {
      balancer.begin(id, 0)({ now: took, ok: true })
    }
    const at = (now: number) =>
      counted(Array.from({ length: 300 }, () => {
        const id = balancer.pick({ now, random })?.id ?? "none"
        balancer.begin(id, now - (id === "i2" ? 200 : 10))({ now, ok: true })
        return id
      }))
    assert.equal(at(1_000).get("i2"), undefined)
    assert.equal(at(20_000).get("i2"), undefined)
    assert.equal(at(60_000).get("i2"), 1)
  })

  test("peakEwma multiplies latency by calls in flight, and sends one call to an unmeasured instance", () => {
    const balancer = balancerOf(decay, equal(2))
    balancer.begin("i0", 0)({ now: 100, ok: true })
    balancer.begin("i1", 60)({ now: 100, ok: true })
    const random = seeded(33)
    const pickAndBegin = () => {
      const id = balancer.pick({ now: 100, random })?.id ?? "none"
      balancer.begin(id, 100)
      return id
    }
    // 40 × 1, 40 × 2, then 100 × 1 before 40 × 3.
    assert.deepEqual([pickAndBegin(), pickAndBegin(), pickAndBegin(), pickAndBegin()], ["i1", "i1", "i0", "i1"])
    balancer.update(setOf([...equal(2), instance("new")]), 100)
    const asked = counted(Array.from({ length: 30 }, pickAndBegin))
    assert.equal(asked.get("new"), 1)
  })
})

describe("zoneAware", () => {
  const instances = ["a", "a", "b", "b", "b"].map((zone, i) => instance(`${zone}${i}`, { zone }))
  const request = { now: 0, random: () => 0 }

  test("zoneAware picks in the zone while it has minLocal available instances", () => {
    const balancer = balancerOf(Balancer.roundRobin.pipe(inZoneA), instances)
    const zones = () => new Set(picks(balancer, 20, request))
    assert.deepEqual(zones(), new Set(["a0", "a1"]))
    balancer.update(setOf(instances.map((one) => one.id === "a0" ? { ...one, status: "down" as const } : one)), 1)
    assert.deepEqual(zones(), new Set(["a1", "b2", "b3", "b4"]))
    balancer.update(setOf(instances.map((one) => one.id === "a0" ? { ...one, zone: "b" } : one)), 2)
    assert.deepEqual(zones(), new Set(["a0", "a1", "b2", "b3", "b4"]))
    balancer.update(setOf(instances.map((one) => one.id === "b2" ? { ...one, zone: "a" } : one)), 3)
    assert.deepEqual(zones(), new Set(["a0", "a1", "b2"]))
    balancer.update(setOf(instances), 4)
    assert.deepEqual(zones(), new Set(["a0", "a1"]))
  })

  test("zoneAware picks in other zones, and keeps its state, if the whole zone is excluded", () => {
    const balancer = balancerOf(Balancer.leastRequests.pipe(inZoneA), instances)
    balancer.begin("b2", 0)
    balancer.begin("b3", 0)
    const elsewhere = { now: 0, random: seeded(34), exclude: (id: string) => id.startsWith("a") || id === "b3" }
    assert.deepEqual(new Set(picks(balancer, 50, elsewhere)), new Set(["b4"]))
  })
})

describe("filter", () => {
  test("filter applies its predicate again when instances change", () => {
    const canary = Balancer.filter(({ version }) => version === "2")
    const watched = new Watched()
    const balancer = balancerOf(Balancer.random.pipe(canary))
    const chosen = () => new Set(picks(balancer, 50, { now: 0, random: seeded(35) }))
    balancer.update(watched.put(instance("x", { version: "1" }), instance("y", { version: "2" })), 0)
    assert.deepEqual(chosen(), new Set(["y"]))
    balancer.update(watched.put(instance("x", { version: "2" }), instance("y", { version: "1" })), 1)
    assert.deepEqual(chosen(), new Set(["x"]))
    balancer.update(watched.remove("x"), 2)
    assert.deepEqual(chosen(), new Set())
  })

  test("filter reads the metadata of a typed service", () => {
    const typed = Balancer.roundRobin.pipe(
      Balancer.filter<{ readonly shard: number }>(({ metadata }) => metadata.shard === 2)
    )
    const balancer = Result.getOrThrow(Balancer.make<{ readonly shard: number }>(typed))
    balancer.update(setOf([1, 2].map((shard) => ({ ...instance(`s${shard}`), metadata: { shard } }))), 0)
    assert.equal(balancer.pick({ now: 0, random: () => 0 })?.metadata.shard, 2)
  })
})

describe("make", () => {
  const bad: ReadonlyArray<readonly [Balancer.Strategy, string, string]> = [
    [ringSubset({ size: 0, clientId: 0 }), "ringSubset", "size"],
    [ringSubset({ size: 2.5, clientId: 0 }), "ringSubset", "size"],
    [ringSubset({ size: 3, clientId: -1 }), "ringSubset", "clientId"],
    [ringSubset({ size: 3, clientId: NaN }), "ringSubset", "clientId"],
    [ringSubset({ size: 3, clientId: "" }), "ringSubset", "clientId"],
    [Balancer.random.pipe(Balancer.zoneAware({ zone: "" })), "Balancer.zoneAware", "zone"],
    [Balancer.random.pipe(Balancer.zoneAware({ zone: "a", minLocal: 0 })), "Balancer.zoneAware", "minLocal"],
    [Balancer.random.pipe(Balancer.zoneAware({ zone: "a", minLocal: NaN })), "Balancer.zoneAware", "minLocal"],
    [Balancer.random.pipe(Balancer.slowStart(0)), "Balancer.slowStart", "window"],
    [Balancer.random.pipe(Balancer.slowStart(Infinity)), "Balancer.slowStart", "window"],
    [Balancer.random.pipe(Balancer.slowStart(NaN)), "Balancer.slowStart", "window"],
    [Balancer.random.pipe(panic(-0.1)), "panic", "threshold"],
    [Balancer.random.pipe(panic(NaN)), "panic", "threshold"],
    [Balancer.random.pipe(panic(50)), "panic", "threshold"],
    [Balancer.peakEwma({ decay: 0 }), "Balancer.peakEwma", "decay"],
    [Balancer.consistentHash("k", { points: 0 }), "Balancer.consistentHash", "points"],
    [Balancer.consistentHash("k", { points: 1e9 }), "Balancer.consistentHash", "points"]
  ]

  test("Balancer.make returns InvalidOption, however deeply the strategy is wrapped", () => {
    for (const [strategy, name, field] of bad) {
      const wrapped = strategy.pipe(notI3, panic(0.5), inZoneA, Balancer.slowStart("1 second"))
      for (const one of [strategy, wrapped, ringSubset({ size: 1, clientId: 1, within: wrapped })]) {
        const error = Result.getFailure(Balancer.make(one))
        assert.ok(Option.isSome(error) && error.value instanceof InvalidOption)
        assert.deepEqual([error.value.of, error.value.option], [name, field])
        assert.match(error.value.message, new RegExp(`^cannot call ${name}: ${field} is .*; it must `))
      }
    }
  })

  test("Balancer.make refuses a strategy without make, and accepts a class with a static one", () => {
    for (const strategy of [undefined, {}, Balancer.consistentHash]) {
      const error = Result.getFailure(Balancer.make(strategy as never))
      assert.ok(Option.isSome(error))
      assert.equal(
        error.value.message,
        "cannot call Balancer.make: strategy.make is undefined; it must be a function"
      )
    }
    class Turns {
      static make = Balancer.roundRobin.make
    }
    assert.ok(Result.isSuccess(Balancer.make(Turns as never)))
  })

  test("Balancer never picks an instance whose weight is negative or NaN", () => {
    for (const strategy of plain) {
      const balancer = balancerOf(strategy, [...weighted(-1, NaN, 0), instance("good")])
      assert.deepEqual(new Set(picks(balancer, 50, { now: 0, random: seeded(37) })), new Set(["good"]))
    }
  })

  test("Balancer.make starts with fresh state: balancers of one strategy share nothing", () => {
    const [one, other] = [balancerOf(Balancer.leastRequests, equal(2)), balancerOf(Balancer.leastRequests, equal(2))]
    one.begin("i0", 0)
    assert.equal(other.inspect(0).get("i0")?.["inFlight"], 0)
  })
})

describe("Balancer.pick, Balancer.update and Balancer.track", () => {
  effect("Balancer.pick, update and track use Effect's clock and random numbers", () =>
    Effect.gen(function* () {
      const balancer = yield* Effect.fromResult(Balancer.make(Balancer.peakEwma()))
      assert.deepEqual(yield* Balancer.pick(balancer), Option.none())
      yield* Balancer.update(balancer, setOf(equal(3)))
      const sequence = Effect.forEach(Array(20).fill(0), () => Balancer.pick(balancer)).pipe(Random.withSeed("orders"))
      assert.deepEqual(yield* sequence, yield* sequence)
      const only = yield* Balancer.pick(balancer, { exclude: (id) => id !== "i1" })
      const one = yield* Effect.fromOption(only)
      assert.equal(one.id, "i1")
      assert.ok(isAvailable(one))
      const call = yield* Effect.forkChild(
        Balancer.track(balancer, one, Effect.delay(Effect.fail("no"), "100 millis")),
        {
          startImmediately: true
        }
      )
      assert.deepEqual(balancer.inspect(0).get("i1"), { inFlight: 1 })
      yield* TestClock.adjust("100 millis")
      assert.deepEqual(yield* Fiber.await(call), Exit.fail("no"))
      assert.deepEqual(balancer.inspect(100).get("i1"), { inFlight: 0, ewmaMillis: 100 })
      const interrupted = yield* Effect.forkChild(Balancer.track(balancer, one, Effect.never), {
        startImmediately: true
      })
      yield* Fiber.interrupt(interrupted)
      assert.equal(balancer.inspect(100).get("i1")?.["inFlight"], 0)
    }))
})
