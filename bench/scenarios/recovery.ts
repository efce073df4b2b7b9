/** etcd goes away and comes back, once with its data and once without. */
import { Clock, Effect, Fiber, Stream } from "effect"
import { type KeyValue, prefix, rangeAll } from "../../src/etcd/mod.ts"
import { fingerprint, prefixOf } from "../programs/measure.ts"
import type { Drive, Figures, Scenario, Turn } from "../scenario.ts"

const range = prefix(prefixOf())
const slice = 100
const idOf = (key: Uint8Array) => new TextDecoder().decode(key).slice(prefixOf().length)

/** How often each key was ever written, and by which lease. */
const writes = (kvs: ReadonlyArray<KeyValue>) =>
  new Map(kvs.map(({ key, lease, version }) => [idOf(key), `${lease} ${version}`]))

/** Waits until the program has told a live set of that size, not older than a revision; whether it is what etcd has. */
const isRight = Effect.fnUntraced(function* ({ etcd, program }: Turn, count: number, revision: bigint) {
  const { kvs } = yield* rangeAll(etcd, { ...range, keysOnly: true })
  const expected = fingerprint(kvs.map(({ key }) => idOf(key)))
  const line = yield* program.awaitLine((text) => {
    const [word, freshness, size, at = "0"] = text.split(" ")
    return word === "set" && freshness === "Live" && size === String(count) && BigInt(at) >= revision
  }, 20_000)
  return kvs.length === count && line.endsWith(expected)
})

const drive = (count: number, downMillis: number, quietMillis: number): Drive =>
  Effect.fnUntraced(function* (turn) {
    const { etcd, program, server } = turn
    yield* program.awaitLine(new RegExp(`^set Live ${count} `), 60_000)
    const before = yield* rangeAll(etcd, range)

    yield* server.kill("SIGKILL")
    yield* program.awaitLine(/^set Stale/)
    yield* Effect.sleep(downMillis)
    yield* server.start
    yield* Effect.sleep(quietMillis)
    const after = yield* rangeAll(etcd, range)
    const written = writes(before.kvs)
    const rewritten = [...writes(after.kvs)].filter(([id, at]) => written.get(id) !== at).length +
      Math.max(0, before.kvs.length - after.kvs.length)

    yield* server.stop
    yield* server.wipe
    yield* Effect.sleep(downMillis)
    yield* server.launch
    // The benchmark asks as often as it can, so this is the first answer that anybody got.
    while (yield* Effect.isFailure(etcd.range({ key: "/first" }))) yield* Effect.sleep("5 millis")
    const firstAnswerAt = yield* Clock.currentTimeMillis
    const back: Array<number> = []
    let revision = 0n
    const watching = yield* etcd.watch({ ...range, startRevision: 1n }).pipe(
      Stream.takeUntil((response) => {
        if (response._tag !== "Events") return false
        for (const { kv } of response.events) {
          back.push(performance.timeOrigin + performance.now() - firstAnswerAt)
          revision = kv.modRevision
        }
        return back.length >= count
      }),
      Stream.runDrain,
      Effect.timeout("30 seconds"),
      Effect.forkScoped
    )
    yield* Fiber.join(watching)
    const slices = new Map<number, number>()
    for (const millis of back) slices.set(Math.floor(millis / slice), (slices.get(Math.floor(millis / slice)) ?? 0) + 1)
    const figures: Figures = {
      "rewritten after coming back": rewritten,
      "ms until all are back": Math.max(...back),
      "ms until half are back": back[back.length >> 1] ?? Number.NaN,
      "largest share of 100 ms": Math.max(...slices.values()) / count,
      "wrong sets": (yield* isRight(turn, count, revision)) ? 0 : 1
    }
    return figures
  })

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const count = smoke ? 100 : 1000
  const downMillis = smoke ? 500 : 3000
  // A heartbeat of each lease at least: whoever thinks that it is lost has written by then.
  const quietMillis = smoke ? 500 : 6000
  return [{
    name: "recovery",
    about:
      `${count} registrations; etcd is killed for ${downMillis} ms and comes back on its data, then on an empty folder`,
    program: "recovery",
    contenders: ["ours"],
    parameters: { count },
    rounds: 3,
    servers: "each",
    drive: drive(count, downMillis, quietMillis),
    limits: [
      { figure: "rewritten after coming back", exactly: 0 },
      { figure: "ms until all are back", atMost: 2000 },
      { figure: "largest share of 100 ms", atMost: 0.3 },
      { figure: "wrong sets", exactly: 0 }
    ],
    drawn: ["ms until all are back", "largest share of 100 ms"]
  }]
}
