/** The first set of a service, and its changes. */
import { Effect } from "effect"
import { writeMarks } from "../etcd.ts"
import { byPath, floor, type Limit, ours, raw, rawWithEffect, type Scenario, strings } from "../scenario.ts"
import { figuresOf } from "../turn.ts"

const versusRaw = (figure: string, atMost: number): Limit => ({ figure, atMost, comparedWith: { contender: "raw" } })

/** What Effect's modules cost. Only the smallest size of a scenario has them. */
const withEffect = [rawWithEffect, byPath]

const firstSet = (instances: number, fewest: number): Scenario => ({
  name: `first-set-${instances}`,
  about: `a new process reads ${instances} instances`,
  program: "firstSet",
  contenders: [ours, raw, floor, strings, ...(instances > fewest ? [] : withEffect)],
  parameters: { instances },
  instances,
  limits: [versusRaw("ms", 1.2), versusRaw("CPU ms", 1.2), versusRaw("peak MB", 1.15)]
})

const changes = (instances: number, fewest: number, count: number): Scenario => ({
  name: `changes-${instances}`,
  about: `${count} changes of one instance, one each 4 ms, among ${instances}`,
  program: "changes",
  contenders: [ours, raw, ...(instances > fewest ? [floor] : withEffect)],
  parameters: { changes: count },
  instances,
  drive: Effect.fnUntraced(function* ({ etcd, program }) {
    yield* program.awaitLine(/^ready$/)
    yield* writeMarks(etcd, { changes: count, everyMillis: 4, started: program.awaitLine(/^started$/) })
    return yield* figuresOf(program)
  }),
  limits: [
    versusRaw("p50 ms", 1.2),
    versusRaw("p99 ms", 1.3),
    versusRaw("CPU ms per 1,000 changes", 1.3),
    ...(instances > 1000 ? [{ figure: "p50 ms", atMost: 1.2, comparedWith: { scenario: `changes-${fewest}` } }] : [])
  ]
})

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> =>
  smoke ? [firstSet(500, 500), changes(10, 10, 40)] : [
    firstSet(10_000, 10_000),
    firstSet(50_000, 10_000),
    ...[10, 1000, 10_000].map((instances) => changes(instances, 10, 400))
  ]
