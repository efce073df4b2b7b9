/** Many subscriptions in one process. */
import { Effect } from "effect"
import { counters, type Scenario, since, told, writeMarks } from "../scenario.ts"

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const subscriptions = smoke ? 100 : 1000
  const services = smoke ? 10 : 100
  const changes = smoke ? 5 : 15
  return [
    {
      name: "fan-out",
      about: `${subscriptions} subscriptions on ${services} services`,
      program: "fanOut",
      contenders: ["ours", "raw"],
      parameters: { services, subscriptions, changes: 0 },
      services,
      instances: 1,
      drive: Effect.fnUntraced(function* ({ before, program, server }) {
        const figures = yield* told(program)
        const { ranges, watchStreams, watchers } = since(yield* counters(server), before)
        return { ...figures, "watch streams": watchStreams, "watchers": watchers, "ranges": ranges }
      }),
      limits: [
        { figure: "kB per further subscriber", atMost: 10 },
        { figure: "watch streams", exactly: 1 },
        { figure: "watchers", exactly: services },
        { figure: "ranges", exactly: services }
      ],
      drawn: ["kB per further subscriber", "watchers"]
    },
    {
      name: "fan-out-of-one",
      about: `a change reaches ${subscriptions} waiting subscribers of one service`,
      program: "fanOut",
      contenders: ["ours", "raw"],
      parameters: { services: 1, subscriptions, changes },
      services: 1,
      instances: 1,
      drive: Effect.fnUntraced(function* ({ etcd, program }) {
        yield* program.awaitLine(/^ready$/, 60_000)
        yield* writeMarks(etcd, { changes, every: 100, name: "bench0" })
        return yield* told(program)
      }),
      limits: [{ figure: "ms to all", atMost: 10 }],
      drawn: ["ms to all"]
    }
  ]
}
