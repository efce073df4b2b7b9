/** The first set of a service. */
import type { Scenario } from "../scenario.ts"

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> =>
  (smoke ? [1000] : [10_000, 50_000, 100_000]).map((instances) => ({
    name: `cold-start-${instances}`,
    about: `the first set of ${instances} instances of 230 bytes`,
    program: "coldStart",
    contenders: ["ours", "raw"],
    parameters: { instances },
    instances,
    // 100,000 must work; what it costs is reported.
    ...(instances === 100_000 ? { rounds: 1, limits: [] } : {
      limits: [
        { figure: "ms", comparedWith: { contender: "raw" }, atMost: 1.2 },
        { figure: "peak MB", comparedWith: { contender: "raw" }, atMost: 1.3 }
      ]
    }),
    drawn: ["ms", "peak MB"]
  }))
