/** From the start of a process until its instance is in etcd. */
import { ours, type Scenario } from "../scenario.ts"

const effect = { parameters: { effect: 1 } }

export const scenarios = (): ReadonlyArray<Scenario> => [{
  name: "start",
  about: "from the start of a process until its instance is in etcd; raw and floor import effect, too",
  program: "start",
  contenders: [
    { ...ours, parameters: { effect: 0 } },
    { name: "raw", file: "raw", ...effect },
    { name: "floor", file: "floor", ...effect },
    { ...ours, name: "ours, bundled", bundled: "startBundled" }
  ],
  limits: [
    { figure: "ms", atMost: 1.15, comparedWith: { contender: "raw" } },
    { figure: "ms", of: "ours, bundled", atMost: 1, comparedWith: { contender: "raw" } }
  ]
}]
