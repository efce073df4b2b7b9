/**
 * What a pick costs: `deno run -A bench/balancers.ts`, `bun bench/balancers.ts`, `node bench/balancers.ts`.
 *
 * Each strategy takes turns with a bare pick from an array; the numbers are medians over the turns, and the ratio is what
 * should hold anywhere. Two choices and round robin should cost the same for 10 instances and for 10,000 (but for the
 * memory caches, which the bare pick misses, too). `with calls` begins and ends a call for each pick, and `excluded`
 * leaves out every tenth instance. The last column is a change of one instance in the set, with the next pick.
 *
 * @module
 */
import { HashMap, Result } from "effect"
import * as Balancer from "../src/balancing/Balancer.ts"
import type { ServiceInstance } from "../src/model/Instance.ts"
import * as InstanceSet from "../src/model/InstanceSet.ts"

const sizes = [10, 1_000, 10_000]
const rounds = 41
const batch = 2_000

type Metadata = ServiceInstance["metadata"]

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((self, that) => self - that)[values.length >> 1] ?? NaN

/** Xorshift: cheap enough not to hide what a pick costs. */
const randomFrom = (seed: number): () => number => {
  let x = seed
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) / 2 ** 32
  }
}

const instanceOf = (i: number, weight: number): ServiceInstance => ({
  id: `orders-${i}`,
  name: "orders",
  metadata: {},
  endpoints: [`http://10.0.0.1:${i}`],
  weight,
  zone: i % 3 === 0 ? "a" : "b",
  status: "up"
})

interface Subject {
  readonly name: string
  readonly strategy: Balancer.Strategy
  readonly weightOf?: (i: number) => number
  readonly calls?: true
  readonly excluded?: true
}

const uneven = (i: number) => 1 + i % 7

const subjects: ReadonlyArray<Subject> = [
  { name: "roundRobin", strategy: Balancer.roundRobin },
  { name: "roundRobin, excluded", strategy: Balancer.roundRobin, excluded: true },
  { name: "random", strategy: Balancer.random },
  { name: "random, excluded", strategy: Balancer.random, excluded: true },
  { name: "weightedRandom, weights 1 to 7", strategy: Balancer.weightedRandom, weightOf: uneven },
  { name: "weightedRoundRobin, weights 1 to 7", strategy: Balancer.weightedRoundRobin, weightOf: uneven },
  { name: "leastRequests", strategy: Balancer.leastRequests },
  { name: "leastRequests, excluded", strategy: Balancer.leastRequests, excluded: true },
  { name: "leastRequests, with calls", strategy: Balancer.leastRequests, calls: true },
  { name: "leastRequests, weights 1 to 7", strategy: Balancer.leastRequests, weightOf: uneven },
  { name: "peakEwma", strategy: Balancer.peakEwma },
  { name: "peakEwma, with calls", strategy: Balancer.peakEwma, calls: true },
  { name: "consistentHash", strategy: Balancer.consistentHash("a key of some length", { points: 64 }) },
  { name: "ringSubset of 20 (leastRequests)", strategy: Balancer.ringSubset({ size: 20, clientId: 3 }) },
  { name: "leastRequests, zoneAware", strategy: Balancer.leastRequests.pipe(Balancer.zoneAware({ zone: "a" })) },
  { name: "leastRequests, slowStart", strategy: Balancer.leastRequests.pipe(Balancer.slowStart("1 minute")) },
  { name: "leastRequests, panic", strategy: Balancer.leastRequests.pipe(Balancer.panic(0.5)) }
]

/** What keeps the picks from being optimized away. */
let picked = 0

const measure = ({ calls, excluded, strategy, weightOf = () => 1 }: Subject, size: number) => {
  const instances = Array.from({ length: size }, (_, i) => instanceOf(i, weightOf(i)))
  let byId = HashMap.fromIterable(instances.map((one): [string, ServiceInstance] => [one.id, one]))
  const history = new InstanceSet.History()
  const setOf = (changed: ReadonlyArray<string>): InstanceSet.InstanceSet =>
    InstanceSet.make({
      byId,
      revision: 0n,
      freshness: InstanceSet.Freshness.Live(),
      rejected: HashMap.empty(),
      held: new Map(),
      history,
      sequence: history.append(changed)
    })
  const balancer: Balancer.Balancer<Metadata> = Result.getOrThrow(Balancer.make(strategy))
  balancer.update(setOf([]), 0)
  const random = randomFrom(42)
  const out = new Set(instances.filter((_, i) => i % 10 === 3).map(({ id }) => id))
  const request = { now: 0, random, ...(excluded === true ? { exclude: (id: string) => out.has(id) } : {}) }
  const nanos = (body: (i: number) => ServiceInstance | undefined): number => {
    const start = performance.now()
    for (let i = 0; i < batch; i++) picked += body(i)?.weight ?? 0
    return (performance.now() - start) * 1e6 / batch
  }
  const bare = () => instances[Math.floor(random() * size)]
  const balanced = calls === true ?
    (i: number) => {
      const one = balancer.pick({ ...request, now: i })
      if (one !== undefined) balancer.begin(one.id, i)({ now: i + 10, ok: true })
      return one
    } :
    () => balancer.pick(request)
  for (let i = 0; i < 5; i++) nanos(bare) + nanos(balanced)
  const [bares, picks]: [Array<number>, Array<number>] = [[], []]
  for (let round = 0; round < rounds; round++) {
    bares.push(nanos(bare))
    picks.push(nanos(balanced))
  }
  const changes = Array.from({ length: 21 }, (_, i) => {
    const one = instanceOf(i % 10, weightOf(i % 10))
    byId = HashMap.set(byId, one.id, { ...one, status: i % 2 === 0 ? "down" : "up" })
    const set = setOf([one.id])
    const start = performance.now()
    balancer.update(set, i)
    balancer.pick(request)
    return (performance.now() - start) * 1e3
  })
  return { pick: median(picks), ratio: median(picks) / median(bares), change: median(changes) }
}

console.log(
  `${"ns per pick (ratio to a bare array pick)".padEnd(44)}${sizes.map((size) => `${size}`.padStart(16)).join("")}` +
    `   change of one of ${sizes.join(" / ")}`
)
for (const subject of subjects) {
  const results = sizes.map((size) => measure(subject, size))
  console.log(
    subject.name.padEnd(44) +
      results.map(({ pick, ratio }) => `${pick.toFixed(0)} (${ratio.toFixed(1)}×)`.padStart(16)).join("") +
      `   ${results.map(({ change }) => change.toFixed(change < 10 ? 1 : 0)).join(" / ")} µs`
  )
}
if (Number.isNaN(picked)) throw new Error("a pick without a weight")
