/** Registering many instances and keeping them. */
import { Effect } from "effect"
import { counters, type Drive, type Limit, type Scenario, since, told } from "../scenario.ts"

const drive = (count: number, heartbeatMillis: number): Drive =>
  Effect.fnUntraced(function* ({ before, program, server }) {
    yield* program.awaitLine(/^ready$/)
    const ready = yield* counters(server)
    yield* program.endInput
    yield* program.awaitLine(/^registered$/, 120_000)
    const registered = yield* counters(server)
    yield* program.awaitLine(/^settled$/, 60_000)
    const settled = yield* counters(server)
    const figures = yield* told(program, heartbeatMillis + 30_000)
    const last = yield* counters(server)
    const { connections, keepAliveStreams, watchStreams } = since(last, before)
    const all = {
      ...figures,
      "RPCs per registration": since(registered, ready).unaryCalls / count,
      "watch streams": watchStreams,
      "connections": connections
    }
    if (heartbeatMillis === 0) return all
    const { cpuMillis, heartbeats } = since(last, settled)
    return {
      ...all,
      "keepalive streams": keepAliveStreams,
      "heartbeats": heartbeats,
      "CPU ms of etcd for heartbeats": cpuMillis
    }
  })

/** What holds for registrations on every machine. */
const twoCalls: Limit = { figure: "RPCs per registration", exactly: 2 }
const shared: ReadonlyArray<Limit> = [
  { figure: "watch streams", exactly: 1 },
  { figure: "connections", exactly: 1 }
]
const sharedKeepAlive: Limit = { figure: "keepalive streams", exactly: 1 }

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const [inSequence, many, most] = smoke ? [20, 100, 200] : [200, 1000, 10_000]
  // Heartbeats are sent three times in it.
  const ttl = smoke ? 6 : 15
  const heartbeatMillis = smoke ? 2000 : 10_000
  const settleMillis = smoke ? 500 : 2000
  return [
    {
      name: "registration-in-sequence",
      about: `${inSequence} registrations, one after another`,
      program: "registration",
      contenders: ["ours", "raw", "go-clientv3"],
      parameters: { count: inSequence, concurrency: 1, ttl, settleMillis: 0, heartbeatMillis: 0 },
      drive: drive(inSequence, 0),
      limits: [{ figure: "p50 ms", comparedWith: { contender: "raw" }, atMost: 1.2 }, twoCalls, ...shared],
      drawn: ["p50 ms"]
    },
    {
      name: `registration-${many}`,
      about: `${many} registrations at once`,
      program: "registration",
      contenders: ["ours", "raw", "go-clientv3"],
      parameters: { count: many, concurrency: many, ttl, settleMillis: 500, heartbeatMillis: 0 },
      drive: drive(many, 0),
      limits: [
        { figure: "ms for all", comparedWith: { contender: "raw" }, atMost: 0.8 },
        { figure: "resident MB", comparedWith: { contender: "raw" }, atMost: 0.8 },
        twoCalls,
        ...shared
      ],
      drawn: ["ms for all", "resident MB"]
    },
    {
      name: `registration-${most}`,
      about: `${most} registrations at once, then ${heartbeatMillis / 1000} s of their heartbeats`,
      program: "registration",
      contenders: ["ours"],
      parameters: { count: most, concurrency: most, ttl, settleMillis, heartbeatMillis },
      rounds: 1,
      drive: drive(most, heartbeatMillis),
      // Some may have to try again: that all of them are there at the end is what counts.
      limits: [...shared, sharedKeepAlive],
      drawn: ["ms for all", "resident MB"]
    },
    {
      name: "heartbeats",
      about: `${heartbeatMillis / 1000} s of heartbeats of ${many} registrations, contenders beside each other`,
      program: "registration",
      contenders: ["ours", "raw", "go-clientv3"],
      parameters: { count: many, concurrency: many, ttl, settleMillis, heartbeatMillis },
      // It is CPU that is compared, of processes that do little: they need not wait for each other.
      servers: "together",
      drive: drive(many, heartbeatMillis),
      limits: [
        { figure: "CPU ms of heartbeats", comparedWith: { contender: "raw" }, atMost: 0.35 },
        { figure: "CPU ms of etcd for heartbeats", comparedWith: { contender: "raw" }, atMost: 0.7 },
        ...shared,
        sharedKeepAlive
      ],
      drawn: ["CPU ms of heartbeats", "CPU ms of etcd for heartbeats"]
    }
  ]
}
