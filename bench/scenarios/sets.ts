/** What sets cost in nanoseconds of CPU, without etcd. */
import type { Scenario } from "../scenario.ts"

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> =>
  (smoke ? [10, 1000] : [10, 1000, 100_000]).map((instances) => ({
    name: `sets-${instances}`,
    about: `decoding, changing and reading sets of ${instances} instances, without etcd`,
    program: "sets",
    contenders: ["ours", "raw"],
    parameters: { instances, updates: smoke ? 200 : 2000 },
    rounds: 3,
    limits: [],
    drawn: ["ns per change", "ns per decoded instance"]
  }))
