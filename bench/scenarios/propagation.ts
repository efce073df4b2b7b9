/** A change reaches a consumer: how soon, and at what cost, with how many instances around it. */
import { Effect } from "effect"
import { counters, type Drive, type Scenario, since, told, type Turn, writeMarks } from "../scenario.ts"

/** Bytes that etcd answers the benchmark's own puts with, for each. */
const bytesOfPut = Effect.fnUntraced(function* ({ etcd, server }: Turn) {
  const puts = 20
  const before = yield* counters(server)
  for (let put = 0; put < puts; put++) yield* etcd.put({ key: "/other", value: "" })
  return (yield* counters(server)).bytesSent / puts - before.bytesSent / puts
})

/** Who reads everything again cannot follow at the pace of the others: fewer changes, with time to breathe. */
const rereads = ["naive", "go-kit"]

const drive = (changes: number): Drive =>
  Effect.fnUntraced(function* (turn) {
    const { contender, etcd, program, server } = turn
    const pace = rereads.includes(contender) ? { changes: changes >> 5, every: 100 } : { changes, every: 5 }
    yield* program.awaitLine(/^ready$/)
    const ownBytes = yield* bytesOfPut(turn)
    const before = yield* counters(server)
    yield* writeMarks(etcd, pace)
    const figures = yield* told(program)
    const { bytesSent, cpuMillis } = since(yield* counters(server), before)
    return {
      ...figures,
      "bytes from etcd per change": bytesSent / (pace.changes + 2) - ownBytes,
      "CPU µs of etcd per change": 1000 * cpuMillis / pace.changes
    }
  })

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const changes = smoke ? 64 : 400
  const [few, some, many] = smoke ? [10, 100, 1000] : [10, 1000, 10_000]
  return [few, some, many].map((instances): Scenario => ({
    name: `propagation-${instances}`,
    about: `${changes} changes, one each 5 ms, among ${instances} instances` +
      (instances === many ? `; for ${rereads.join(" and ")} ${changes >> 5}, one each 100 ms` : ""),
    program: "propagation",
    contenders: ["ours", "raw", ...(instances === many ? ["naive", "go-clientv3", "go-kit"] as const : [])],
    parameters: {},
    instances,
    drive: drive(changes),
    limits: [
      { figure: "p50 ms", comparedWith: { contender: "raw" }, atMost: 1.3 },
      { figure: "p99 ms", comparedWith: { contender: "raw" }, atMost: 1.3 },
      { figure: "CPU µs per change", comparedWith: { contender: "raw" }, atMost: 1.5 },
      { figure: "bytes from etcd per change", comparedWith: { contender: "raw" }, atMost: 1.05 },
      ...(instances === many ?
        [
          { figure: "p50 ms", comparedWith: { scenario: `propagation-${few}` }, atMost: 1.2 },
          { figure: "p50 ms", comparedWith: { contender: "go-kit" as const }, atMost: 1 / 30 },
          { figure: "CPU µs per change", comparedWith: { contender: "go-kit" as const }, atMost: 1 / 20 }
        ] :
        [])
    ],
    drawn: ["p50 ms", "CPU µs per change"]
  }))
}
