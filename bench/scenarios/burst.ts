/** Many instances appear at once. */
import { Effect } from "effect"
import { eventually } from "../../test/harness/real.ts"
import { chunks, counters, type Drive, type Scenario, told } from "../scenario.ts"
import { instanceValue, keyOf, now } from "../programs/measure.ts"

const perTxn = 125

const drive = (instances: number): Drive =>
  Effect.fnUntraced(function* ({ before, etcd, program, server }) {
    yield* program.awaitLine(/^ready$/)
    // What is written before the watch is there reaches it in etcd's next round of late watchers, every 100 ms.
    yield* eventually(
      Effect.filterOrFail(counters(server), ({ watchers }) => watchers > before.watchers, () => "nobody watches yet")
    )
    const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
    const ids = Array.from({ length: instances }, (_, index) => `i${index}`)
    for (const some of chunks(ids, perTxn)) {
      yield* etcd.txn({
        then: some.map((id) => ({
          _tag: "Put",
          request: { key: keyOf(id), value: instanceValue(id, id === "i0" ? String(now()) : ""), lease }
        }))
      })
    }
    return yield* told(program)
  })

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> =>
  (smoke ? [250] : [1000, 10_000]).map((instances) => ({
    name: `burst-${instances}`,
    about: `${instances} instances appear in Txns of ${perTxn}`,
    program: "burst",
    contenders: ["ours", "raw"],
    parameters: { instances },
    drive: drive(instances),
    limits: [
      { figure: "ms", comparedWith: { contender: "raw" }, atMost: 1.2 },
      { figure: "CPU ms", comparedWith: { contender: "raw" }, atMost: 1.2 },
      { figure: "arrays sorted", exactly: 0 }
    ],
    drawn: ["ms", "CPU ms"]
  }))
