/** From the start of a process until its instance is in etcd. */
import { byPath, floor, ours, rawWithEffect, type Scenario } from "../scenario.ts"

export const scenarios = (): ReadonlyArray<Scenario> => [{
  name: "start",
  about: "from the start of a process until its instance is in etcd; raw and floor import effect, too",
  program: "start",
  contenders: [
    ours,
    // The library competes with programs that use Effect, too.
    { ...rawWithEffect, name: "raw" },
    { ...floor, parameters: { effect: 1 } },
    byPath,
    { ...ours, name: "ours, bundled", bundled: "startBundled" }
  ],
  limits: [
    { figure: "ms", atMost: 1.15, comparedWith: { contender: "raw" } },
    { figure: "ms", of: "ours, bundled", atMost: 1, comparedWith: { contender: "raw" } }
  ]
}]
