/** Nothing happens: what that costs. */
import { Effect } from "effect"
import { counters, type Scenario, since, told } from "../scenario.ts"

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const each = smoke ? 10 : 100
  const millis = smoke ? 2000 : 60_000
  return [{
    name: "idle",
    about: `${each} registrations and ${each} subscriptions for ${millis / 1000} s in which nothing changes`,
    program: "idle",
    contenders: ["ours", "raw"],
    parameters: { registrations: each, subscriptions: each, millis },
    rounds: 1,
    servers: "together",
    drive: Effect.fnUntraced(function* ({ program, server }) {
      yield* program.awaitLine(/^ready$/, 60_000)
      const before = yield* counters(server)
      yield* program.endInput
      const figures = yield* told(program, millis + 30_000)
      const { bytesSent, heartbeats, unaryCalls } = since(yield* counters(server), before)
      return { ...figures, "heartbeats": heartbeats, "calls that poll": unaryCalls, "kB from etcd": bytesSent / 1000 }
    }),
    limits: [
      { figure: "calls that poll", exactly: 0 },
      // Three each 15 s, and one that was due at the edge.
      { figure: "heartbeats", atMost: each * (3 * millis / 15_000 + 1) }
    ],
    drawn: ["CPU ms", "wake-ups", "kB from etcd"]
  }]
}
