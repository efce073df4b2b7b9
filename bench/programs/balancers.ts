/**
 * What a pick costs, without etcd and without calls: each strategy over a set that stays, and what a change of one
 * instance costs with the pick after it. The rival is a bare pick from an array, as often as there are strategies.
 *
 * `with calls` begins and ends a call for each pick, and `excluded` leaves out every tenth instance.
 */
import { HashMap, Result } from "effect"
import type { ServiceInstance } from "../../mod.ts"
import { Balancer } from "../../src/balancing/mod.ts"
import * as InstanceSet from "../../src/registry/model/InstanceSet.ts"
import { quantile, readArguments, report, service } from "./measure.ts"
import { Freshness } from "../../src/etcd/Freshness.ts"

const { parameters: { batches, instances: count }, who } = readArguments<"batches" | "instances">()
/** Picks in a batch, which is over before the system takes the core away. The median of the batches is told. */
const batch = 2000

interface Subject {
  readonly name: string
  readonly strategy: Balancer.Strategy
  readonly weightOf?: (index: number) => number
  readonly calls?: true
  readonly excluded?: true
}

const uneven = (index: number) => 1 + index % 7

const { leastRequests, peakEwma, random, roundRobin, weightedRandom, weightedRoundRobin } = Balancer
const subjects: ReadonlyArray<Subject> = [
  { name: "roundRobin", strategy: roundRobin },
  { name: "roundRobin, excluded", strategy: roundRobin, excluded: true },
  { name: "random", strategy: random },
  { name: "random, excluded", strategy: random, excluded: true },
  { name: "weightedRandom, weights 1 to 7", strategy: weightedRandom, weightOf: uneven },
  { name: "weightedRoundRobin, weights 1 to 7", strategy: weightedRoundRobin, weightOf: uneven },
  { name: "leastRequests", strategy: leastRequests },
  { name: "leastRequests, excluded", strategy: leastRequests, excluded: true },
  { name: "leastRequests, with calls", strategy: leastRequests, calls: true },
  { name: "leastRequests, weights 1 to 7", strategy: leastRequests, weightOf: uneven },
  { name: "peakEwma", strategy: peakEwma },
  { name: "peakEwma, with calls", strategy: peakEwma, calls: true },
  { name: "consistentHash", strategy: Balancer.consistentHash("a key of some length", { points: 64 }) },
  { name: "ringSubset of 20", strategy: Balancer.ringSubset({ size: 20, clientId: 3 }) },
  { name: "leastRequests, zoneAware", strategy: leastRequests.pipe(Balancer.zoneAware({ zone: "a" })) },
  { name: "leastRequests, slowStart", strategy: leastRequests.pipe(Balancer.slowStart("1 minute")) },
  { name: "leastRequests, panic", strategy: leastRequests.pipe(Balancer.panic(0.5)) }
]

const instanceOf = (index: number, weight: number): ServiceInstance => ({
  id: `${service}-${index}`,
  name: service,
  metadata: {},
  endpoints: [`http://10.0.0.1:${index}`],
  weight,
  zone: index % 3 === 0 ? "a" : "b",
  status: "up"
})

/** Xorshift: cheap enough not to hide what a pick costs. */
let x = 42
const chance = (): number => {
  x ^= x << 13
  x ^= x >>> 17
  x ^= x << 5
  return (x >>> 0) / 2 ** 32
}

/** Picks that found nobody. Counting them keeps the picks from being optimized away. */
let nobody = 0

/** Nanoseconds of a pick, once the compiler has had its time. */
const picking = (pick: (index: number) => ServiceInstance | undefined): number => {
  const nanos = (): number => {
    const start = performance.now()
    for (let index = 0; index < batch; index++) if (!((pick(index)?.weight ?? 0) > 0)) nobody += 1
    return (performance.now() - start) * 1e6 / batch
  }
  for (let round = 0; round < 3 * batches; round++) nanos()
  return quantile(Array.from({ length: batches }, nanos), 0.5)
}

const instancesOf = ({ weightOf = () => 1 }: Subject): ReadonlyArray<ServiceInstance> =>
  Array.from({ length: count }, (_, index) => instanceOf(index, weightOf(index)))

const raw = (subject: Subject) => {
  const instances = instancesOf(subject)
  return { [`${subject.name} ns`]: picking(() => instances[Math.floor(chance() * count)]) }
}

const ours = (subject: Subject) => {
  const instances = instancesOf(subject)
  let byId = HashMap.fromIterable(instances.map((one) => [one.id, one] as const))
  const history = new InstanceSet.History()
  const setOf = (changed: ReadonlyArray<string>): InstanceSet.InstanceSet =>
    InstanceSet.make({
      byId,
      revision: 0n,
      freshness: Freshness.Live(),
      rejected: HashMap.empty(),
      held: new Map(),
      history,
      sequence: history.append(changed)
    })
  const balancer: Balancer.Balancer<ServiceInstance["metadata"]> = Result.getOrThrow(Balancer.make(subject.strategy))
  balancer.update(setOf([]), 0)
  const out = new Set(instances.filter((_, index) => index % 10 === 3).map(({ id }) => id))
  const request = {
    now: 0,
    random: chance,
    ...(subject.excluded === true ? { exclude: (id: string) => out.has(id) } : {})
  }
  const nanos = picking(
    subject.calls === true ?
      (index) => {
        const one = balancer.pick({ ...request, now: index })
        if (one !== undefined) balancer.begin(one.id, index)({ now: index + 10, ok: true })
        return one
      } :
      () => balancer.pick(request)
  )
  const changes = instances.slice(0, 10).flatMap((one) =>
    (["down", "up"] as const).map((status) => ({ ...one, status }))
  )
  const changing = changes.map((one, index) => {
    byId = HashMap.set(byId, one.id, one)
    const set = setOf([one.id])
    const start = performance.now()
    balancer.update(set, index)
    balancer.pick(request)
    return (performance.now() - start) * 1000
  })
  return { [`${subject.name} ns`]: nanos, [`${subject.name} µs per change`]: quantile(changing, 0.5) }
}

const figures = Object.assign({}, ...subjects.map(who === "ours" ? ours : raw))
report({ ...figures, ...(who === "ours" ? { "picks of nobody": nobody } : {}) })
