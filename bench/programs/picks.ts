/** Measures a pick of each strategy among instances that do not change. */
import { Effect, Result, Stream } from "effect"
import { discover, type InstanceSet, Registry } from "../../mod.ts"
import { Balancer } from "../../src/balancing/mod.ts"
import { instanceValue, keyOf, parameter, quantile, report, service } from "./measure.ts"
import { Etcd, EtcdMemory } from "../../src/etcd/mod.ts"

const strategies = {
  roundRobin: Balancer.roundRobin,
  random: Balancer.random,
  leastRequests: Balancer.leastRequests,
  peakEwma: Balancer.peakEwma(),
  consistentHash: Balancer.consistentHash("a key of some length")
}

const firstSet = Effect.gen(function* () {
  const etcd = yield* EtcdMemory.make()
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
  for (let index = 0; index < parameter("instances"); index++) {
    yield* etcd.put({ key: keyOf(`i${index}`), value: instanceValue(`i${index}`, "", false), lease })
  }
  const sets = yield* discover(service).pipe(
    Stream.take(1),
    Stream.runCollect,
    Effect.provide(Registry.layer()),
    Effect.provideService(Etcd, etcd)
  )
  return [...sets]
})

const nanosOf = (
  set: InstanceSet.InstanceSet<Readonly<Record<string, string>>>,
  strategy: Balancer.Strategy
): number => {
  const balancer: Balancer.Balancer<Readonly<Record<string, string>>> = Result.getOrThrow(Balancer.make(strategy))
  balancer.update(set, 0)
  const batch = (): number => {
    const startedAt = performance.now()
    for (let pick = 0; pick < 2000; pick++) {
      if (balancer.pick({ now: 0, random: Math.random }) === undefined) throw new Error("a pick found no instance")
    }
    return (performance.now() - startedAt) * 1e6 / 2000
  }
  return quantile(Array.from({ length: 100 }, batch), 0.5)
}

const [set] = await Effect.runPromise(Effect.scoped(firstSet))
if (set === undefined) throw new Error("discover emitted no set")
report(Object.fromEntries(
  Object.entries(strategies).map(([name, strategy]) => [`ns of ${name}`, nanosOf(set, strategy)])
))
