/**
 * The benchmark: what this library and its rivals cost, beside each other.
 *
 *     deno task bench [scenario …] [--runtime deno|bun|node|all] [--rounds N] [--json file]
 *
 * Each round runs every contender once, in a process of its own, against a fresh etcd of its own; rounds alternate.
 * What is printed is the median with its spread, and the ratio of medians to the first rival. Machines are noisy: the
 * ratios are what counts.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { parseArgs } from "node:util"
import { Etcd, EtcdGrpc } from "../mod.ts"
import { type EtcdServer, startEtcd } from "../test/harness/EtcdServer.ts"
import { type Program, runProgram } from "../test/harness/program.ts"
import { runtimeNames } from "../tools/runtimes.ts"
import { instanceValue, keyOf, now } from "./scenarios/measure.ts"

interface Scenario {
  readonly name: string
  readonly program: string
  /** The first is ours, the second is what it is compared with. */
  readonly contenders: ReadonlyArray<string>
  /** Instances that are there before a contender starts. */
  readonly instances: number
  /** What the program is told. */
  readonly count: number
  readonly drive?: (program: Program) => Effect.Effect<void, unknown, Etcd>
}

const changes = 400

/** Writes one instance again and again, each time with the moment of writing. */
const writeChanges = (program: Program): Effect.Effect<void, unknown, Etcd> =>
  Effect.gen(function* () {
    const etcd = yield* Etcd
    yield* program.awaitLine("ready")
    const lease = yield* etcd.range({ key: keyOf("i0") })
    const put = (mark: string) =>
      etcd.put({ key: keyOf("i0"), value: instanceValue("i0", mark), lease: lease.kvs[0]?.lease ?? 0n })
    yield* put("start")
    yield* Effect.sleep("200 millis")
    for (let change = 0; change < changes; change++) {
      yield* Effect.sleep("5 millis")
      yield* put(String(now()))
    }
    yield* Effect.sleep("200 millis")
    yield* put("end")
  })

const scenarios: ReadonlyArray<Scenario> = [
  ...[10, 1000, 10_000].map((instances): Scenario => ({
    name: `propagation-${instances}`,
    program: "propagation.ts",
    contenders: instances === 10_000 ? ["ours", "raw", "naive"] : ["ours", "raw"],
    instances,
    count: changes,
    drive: writeChanges
  })),
  ...[10_000, 50_000].map((instances): Scenario => ({
    name: `first-set-${instances}`,
    program: "firstSet.ts",
    contenders: ["ours", "raw"],
    instances,
    count: instances
  })),
  { name: "registration-1000", program: "registration.ts", contenders: ["ours", "raw"], instances: 0, count: 1000 }
]

const fill = Effect.fnUntraced(function* (instances: number) {
  const etcd = yield* Etcd
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
  const batch = 100
  for (let start = 0; start < instances; start += batch) {
    yield* etcd.txn({
      then: Array.from({ length: Math.min(batch, instances - start) }, (_, index) => {
        const id = `i${start + index}`
        return { _tag: "Put", request: { key: keyOf(id), value: instanceValue(id, ""), lease } }
      })
    })
  }
})

type Figures = Readonly<Record<string, number>>

const runOnce = (
  scenario: Scenario,
  runtime: (typeof runtimeNames)[number],
  who: string
): Effect.Effect<Figures, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const server: EtcdServer = yield* startEtcd()
    return yield* Effect.gen(function* () {
      yield* fill(scenario.instances)
      const program = yield* runProgram({
        file: new URL(`scenarios/${scenario.program}`, import.meta.url),
        runtime,
        args: [who, server.endpoint, String(scenario.count)]
      })
      if (scenario.drive !== undefined) yield* scenario.drive(program)
      const line = yield* program.awaitLine(/^figures /, 60_000)
      const figures: Figures = JSON.parse(line.slice("figures ".length))
      return figures
    }).pipe(Effect.provide(EtcdGrpc.layer({ endpoints: [server.endpoint] })))
  })

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const show = (value: number): string => value >= 100 ? value.toFixed(0) : value.toPrecision(3)

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", default: "deno" },
    rounds: { type: "string", default: "5" },
    json: { type: "string" }
  }
})
const runtimes = runtimeNames.filter((name) => values.runtime === "all" || values.runtime === name)
const wanted = scenarios.filter(({ name }) =>
  positionals.length === 0 || positionals.some((text) => name.startsWith(text))
)
const rounds = Number(values.rounds)
if (runtimes.length === 0 || wanted.length === 0 || !(rounds >= 1)) {
  console.error(`scenarios: ${scenarios.map(({ name }) => name).join(", ")}; runtimes: ${runtimeNames.join(", ")}, all`)
  process.exit(2)
}

const results: Array<object> = []
for (const runtime of runtimes) {
  for (const scenario of wanted) {
    const figures = new Map<string, Array<Figures>>(scenario.contenders.map((who) => [who, []]))
    for (let round = 0; round < rounds; round++) {
      for (const [who, rows] of figures) {
        rows.push(await Effect.runPromise(Effect.scoped(runOnce(scenario, runtime, who))))
      }
    }
    console.log(`\n${scenario.name} on ${runtime}, median of ${rounds} (min–max)`)
    const [ours = "", rival = ""] = scenario.contenders
    for (const figure of Object.keys(figures.get(ours)?.[0] ?? {})) {
      const of = (who: string) => (figures.get(who) ?? []).map((row) => row[figure] ?? Number.NaN)
      const cells = scenario.contenders.map((who) =>
        `${who} ${show(median(of(who)))} (${show(Math.min(...of(who)))}–${show(Math.max(...of(who)))})`
      )
      const ratio = median(of(ours)) / median(of(rival))
      console.log(`  ${figure.padEnd(32)} ${cells.join("   ")}   ${ours}/${rival} ${ratio.toFixed(2)}`)
      results.push({
        scenario: scenario.name,
        runtime,
        figure,
        ratio,
        ...Object.fromEntries(scenario.contenders.map((who) => [who, of(who)]))
      })
    }
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`)
