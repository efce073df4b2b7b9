/** What a pick costs, without etcd. */
import type { Scenario } from "../scenario.ts"

/** What must not grow with the number of instances. */
const flat = ["roundRobin", "random", "leastRequests", "peakEwma"]

/**
 * How much more a pick from 10,000 may cost than one from 10. Two choices read two instances wherever they are: 10,000
 * do not fit into the caches near the core, and a miss is much beside 30 ns (measured on a busy machine: 0.5 to 3.2
 * times). What grows with the logarithm of the number would need 4 times as long, what goes through all 1,000 times.
 */
const growth = 4

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const [few, some, many] = [10, 1000, 10_000]
  return [few, some, many].map((instances): Scenario => ({
    name: `balancers-${instances}`,
    about: `a pick from ${instances} instances with each strategy, without etcd; raw is a bare pick from an array`,
    program: "balancers",
    contenders: ["ours", "raw"],
    parameters: { instances, batches: smoke ? 5 : 101 },
    limits: [
      { figure: "picks of nobody", exactly: 0 },
      ...flat.flatMap((strategy) => [
        { figure: `${strategy} ns`, atMost: 2000 },
        ...(instances === many ?
          [{ figure: `${strategy} ns`, comparedWith: { scenario: `balancers-${few}` }, atMost: growth }] :
          [])
      ])
    ],
    drawn: flat.map((strategy) => `${strategy} ns`)
  }))
}
