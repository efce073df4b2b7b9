/** Registering, keeping and releasing many instances. */
import { Effect } from "effect"
import { counters, since } from "../etcd.ts"
import { figuresOf } from "../turn.ts"
import { floor, type Limit, ours, raw, type Scenario, shared, strings } from "../scenario.ts"

const versusRaw = (figure: string, atMost: Limit["atMost"], of = "ours"): Limit => ({
  figure,
  of,
  atMost,
  comparedWith: { contender: "raw" }
})

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const many = smoke ? 100 : 1000
  return [
    {
      name: "registrations",
      about: `${many} registrations at once by a new process, and their release`,
      program: "bulk",
      contenders: [ours, raw, floor, strings, shared],
      parameters: { count: many },
      drive: Effect.fnUntraced(function* ({ before, program, server }) {
        yield* program.awaitLine(/^ready$/)
        yield* program.endInput
        yield* program.awaitLine(/^registered$/, 60_000)
        const { connections, watchStreams } = since(yield* counters(server), before)
        return { ...yield* figuresOf(program), "connections": connections, "watch streams": watchStreams }
      }),
      limits: [
        versusRaw("ms to register", { deno: 1.0, node: 0.8, bun: 0.8 }),
        versusRaw("ms to release", 1.3),
        versusRaw("ms to register", 0.4, shared.name),
        versusRaw("ms to release", 0.3, shared.name),
        { figure: "connections", atMost: 1, always: true },
        { figure: "watch streams", atMost: 1, always: true }
      ]
    },
    {
      name: "registrations-in-sequence",
      about: `${many} registrations, one after another, by a new process`,
      program: "sequence",
      contenders: [ours, raw, floor],
      parameters: { count: many },
      limits: [versusRaw("p50 ms", 1.1), versusRaw("p99 ms", 2)]
    },
    {
      name: "heartbeats",
      about: `${smoke ? 1 : 10} s of heartbeats of ${many} registrations, contenders beside each other`,
      program: "heartbeats",
      contenders: [ours, raw, floor, shared],
      parameters: { count: many, settleMillis: smoke ? 500 : 2000, millis: smoke ? 1000 : 10_000 },
      // The comparison uses the CPU of mostly idle processes, so they may run simultaneously.
      servers: "together",
      drive: Effect.fnUntraced(function* ({ before, program, server }) {
        const figures = yield* figuresOf(program)
        const { keepAliveStreams } = since(yield* counters(server), before)
        return { ...figures, "keepalive streams": keepAliveStreams }
      }),
      limits: [versusRaw("CPU ms", 0.8), versusRaw("CPU ms", 0.05, shared.name), {
        figure: "keepalive streams",
        atMost: 1,
        always: true
      }]
    }
  ]
}
