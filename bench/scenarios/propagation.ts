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

const drive = (changes: number, every: number): Drive =>
  Effect.fnUntraced(function* (turn) {
    const { etcd, program, server } = turn
    yield* program.awaitLine("ready")
    const ownBytes = yield* bytesOfPut(turn)
    const before = yield* counters(server)
    yield* writeMarks(etcd, { changes, every })
    const figures = yield* told(program, 120_000)
    const { bytesSent, cpuMillis } = since(yield* counters(server), before)
    return {
      ...figures,
      "bytes from etcd per change": bytesSent / (changes + 2) - ownBytes,
      "CPU µs of etcd per change": 1000 * cpuMillis / changes
    }
  })

const drawn = ["p50 ms", "CPU µs per change"]

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const changes = smoke ? 20 : 400
  const slowChanges = smoke ? 5 : 30
  const [few, some, many] = smoke ? [10, 100, 1000] : [10, 1000, 10_000]
  return [
    ...[few, some, many].map((instances): Scenario => ({
      name: `propagation-${instances}`,
      about: `${changes} changes, one each 5 ms, among ${instances} instances`,
      program: "propagation",
      contenders: ["ours", "raw", "go-clientv3"],
      parameters: { changes },
      instances,
      drive: drive(changes, 5),
      limits: [
        { figure: "p50 ms", comparedWith: { contender: "raw" }, atMost: 1.3 },
        { figure: "p99 ms", comparedWith: { contender: "raw" }, atMost: 1.3 },
        { figure: "CPU µs per change", comparedWith: { contender: "raw" }, atMost: 1.5 },
        { figure: "bytes from etcd per change", comparedWith: { contender: "raw" }, atMost: 1.05 },
        ...(instances === many ?
          [{ figure: "p50 ms", comparedWith: { scenario: `propagation-${few}` }, atMost: 1.2 }] :
          [])
      ],
      drawn
    })),
    {
      name: `propagation-slow-${many}`,
      about:
        `${slowChanges} changes, one each 100 ms, among ${many} instances: slow enough for who reads all of them again`,
      program: "propagation",
      contenders: ["ours", "naive", "go-kit"],
      parameters: { changes: slowChanges },
      instances: many,
      drive: drive(slowChanges, 100),
      limits: [
        { figure: "p50 ms", comparedWith: { contender: "go-kit" }, atMost: 1 / 30 },
        { figure: "CPU µs per change", comparedWith: { contender: "go-kit" }, atMost: 1 / 20 }
      ],
      drawn
    }
  ]
}
