/**
 * The benchmark: what this library and its rivals cost, beside each other.
 *
 *     deno task bench [name …] [--runtime deno|bun|node|all] [--rounds N] [--json file] [--results] [--smoke]
 *
 * `README.md` here says how it measures. It exits with 1 when a figure falls short of its limit or a turn failed.
 * `--results` writes the table, the figures and the plots into `results/`; `--smoke` runs every scenario once with small
 * numbers, and only what must hold on every machine counts.
 *
 * @module
 */
import { Cause, Effect, Exit, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { parseArgs } from "node:util"
import { Etcd, EtcdGrpc } from "../mod.ts"
import type { EtcdServer } from "../test/harness/EtcdServer.ts"
import { runProgram } from "../test/harness/program.ts"
import { eventually } from "../test/harness/real.ts"
import { type RuntimeName, runtimeNames } from "../tools/runtimes.ts"
import { goProgram } from "./go.ts"
import { contradictions, model, tables, writeModel } from "./model.ts"
import { environment, type Lane, type Result, table, verdicts, whereOf, writeResults } from "./report.ts"
import { type Contender, counters, type Figures, fill, type Scenario, startServer, told } from "./scenario.ts"
import * as burst from "./scenarios/burst.ts"
import * as coldStart from "./scenarios/coldStart.ts"
import * as fanOut from "./scenarios/fanOut.ts"
import * as idle from "./scenarios/idle.ts"
import * as propagation from "./scenarios/propagation.ts"
import * as recovery from "./scenarios/recovery.ts"
import * as registration from "./scenarios/registration.ts"
import * as sets from "./scenarios/sets.ts"

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", default: "deno" },
    rounds: { type: "string" },
    json: { type: "string" },
    results: { type: "boolean", default: false },
    smoke: { type: "boolean", default: false }
  }
})
const { smoke } = values
const all = [propagation, registration, burst, coldStart, fanOut, recovery, idle, sets]
  .flatMap(({ scenarios }) => scenarios(smoke))
const isWanted = (name: string) => positionals.length === 0 || positionals.some((text) => name.startsWith(text))
const wanted = all.filter(({ name }) => isWanted(name))
const runtimes = runtimeNames.filter((name) => values.runtime === "all" || values.runtime === name)
const rounds = Number(values.rounds ?? (smoke ? 1 : 5))
const isContradiction = smoke && values.results
if (isContradiction || runtimes.length === 0 || (wanted.length === 0 && !isWanted("model")) || !(rounds >= 1)) {
  console.error(
    `scenarios: ${all.map(({ name }) => name).join(", ")}, model; runtimes: ${runtimeNames.join(", ")}, all`
  )
  process.exit(2)
}

const runtimeArgs: Readonly<Record<RuntimeName | "native", ReadonlyArray<string>>> = {
  deno: ["-A", "--v8-flags=--expose-gc"],
  bun: [],
  node: ["--expose-gc"],
  native: []
}

/** A server with what a scenario wants to be there before, and what it takes to clean up after a turn. */
const prepare = (scenario: Scenario): Effect.Effect<Prepared, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* startServer(smoke)
    const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
    const own = yield* fill(etcd, scenario)
    const quiet = yield* counters(server)
    return {
      server,
      etcd,
      cleanUp: Effect.gen(function* () {
        const { leases } = yield* etcd.leaseLeases
        const left = leases.filter((lease) => lease !== own)
        yield* Effect.forEach(left, (lease) => Effect.ignore(etcd.leaseRevoke(lease)), { concurrency: 50 })
        // The program was killed: etcd needs a moment to notice.
        yield* eventually(Effect.gen(function* () {
          const { connections, keepAliveStreams, watchers, watchStreams } = yield* counters(server)
          const isQuiet = keepAliveStreams === 0 && watchStreams === 0 && watchers === 0 &&
            !(connections > quiet.connections)
          if (!isQuiet) return yield* Effect.fail("etcd still has clients")
        }))
      })
    }
  })

interface Prepared {
  readonly server: EtcdServer
  readonly etcd: Etcd
  readonly cleanUp: Effect.Effect<void, unknown>
}

const takeTurn = (scenario: Scenario, lane: Lane, { etcd, server }: Prepared): Effect.Effect<Figures, unknown> =>
  Effect.scoped(Effect.gen(function* () {
    const before = yield* counters(server)
    const runtime = lane.runtime === "go" ? "native" : lane.runtime
    const program = yield* runProgram({
      file: lane.runtime === "go" ?
        String(go(scenario.program)) :
        new URL(`programs/${scenario.program}.ts`, import.meta.url),
      runtime,
      runtimeArgs: runtimeArgs[runtime],
      args: [lane.contender, server.endpoint, JSON.stringify(scenario.parameters)]
    })
    return yield* (scenario.drive ?? (({ program }) => told(program)))({
      contender: lane.contender,
      program,
      server,
      etcd,
      before
    })
  }))

/** A turn's figures, or `undefined` when it failed, which is told and counted. */
const attempt = async (scenario: Scenario, lane: Lane, turn: Effect.Effect<Figures, unknown>) => {
  const exit = await Effect.runPromiseExit(turn)
  if (Exit.isSuccess(exit)) return exit.value
  failures += 1
  console.error(
    `${scenario.name}, ${lane.contender} on ${lane.runtime}: ${
      Cause.pretty(exit.cause).split("\n").slice(0, 20).join("\n")
    }`
  )
  return undefined
}

const runScenario = async (scenario: Scenario): Promise<Result> => {
  const lanes: ReadonlyArray<Lane> = [
    ...runtimes.flatMap((runtime) =>
      scenario.contenders.filter((contender) => !isGo(contender)).map((contender) => ({ contender, runtime }))
    ),
    ...scenario.contenders.filter((contender) => isGo(contender) && typeof go(scenario.program) === "string")
      .map((contender) => ({ contender, runtime: "go" as const }))
  ]
  const result = { scenario, lanes: lanes.map((lane) => ({ ...lane, figures: {} as Record<string, Array<number>> })) }
  const times = Math.min(rounds, scenario.rounds ?? rounds)
  const note = (lane: (typeof result.lanes)[number], figures: Figures | undefined) => {
    for (const [figure, value] of Object.entries(figures ?? {})) (lane.figures[figure] ??= []).push(value)
  }
  const alone = (lane: Lane) =>
    Effect.scoped(Effect.flatMap(prepare(scenario), (prepared) => takeTurn(scenario, lane, prepared)))

  for (let round = 0; round < times; round++) {
    if (scenario.servers === "together") {
      await Promise.all(result.lanes.map(async (lane) => note(lane, await attempt(scenario, lane, alone(lane)))))
    } else if (scenario.servers === "each") {
      for (const lane of result.lanes) note(lane, await attempt(scenario, lane, alone(lane)))
    }
  }
  if ((scenario.servers ?? "one") === "one") {
    await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
      const prepared = yield* prepare(scenario)
      for (let round = 0; round < times; round++) {
        for (const lane of result.lanes) {
          note(lane, yield* Effect.promise(() => attempt(scenario, lane, takeTurn(scenario, lane, prepared))))
          yield* prepared.cleanUp
        }
      }
    })))
  }
  return result
}

/** Go takes part where it is at hand; a smoke run does not fetch it. */
const go = (program: string): string | Error => smoke ? new Error("a smoke run is without Go") : goProgram(program)

const isGo = (contender: Contender): boolean => contender.startsWith("go-")

let failures = 0
const startedAt = performance.now()
for (const { contenders, name, program } of wanted) {
  const missing = contenders.some(isGo) ? go(program) : ""
  if (missing instanceof Error && !smoke) {
    console.log(`${name} without ${contenders.filter(isGo).join(", ")}: ${missing.message}`)
  }
}
const results: Array<Result> = []
for (const scenario of wanted) {
  const result = await runScenario(scenario)
  results.push(result)
  console.log(table(result, verdicts(result, results, smoke)))
}
const short = results.flatMap((result) => verdicts(result, results, smoke)).filter(({ holds }) => !holds)
const [modelRuntime = "deno"] = runtimes
const measured = isWanted("model") ? await Effect.runPromise(model(modelRuntime, smoke)) : undefined
if (measured !== undefined) {
  console.log("\n### model\n")
  console.log(Object.values(tables(measured)).join("\n\n"))
}
const wrong = measured === undefined || smoke ? [] : contradictions(measured)
const machine = environment(runtimes)
const report = { ...machine, rounds, results, ...(measured === undefined ? {} : { model: measured }) }
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report, undefined, 2) + "\n")
if (values.results) {
  writeResults(report)
  if (measured !== undefined) writeModel(measured, whereOf(machine))
}
for (const text of [...short.map(({ text }) => text), ...wrong]) console.log(`falls short: ${text}`)
console.log(
  `${wanted.length} scenarios in ${((performance.now() - startedAt) / 60_000).toFixed(1)} minutes: ` +
    `${short.length + wrong.length} figures fall short, ${failures} turns failed`
)
process.exit(short.length + wrong.length === 0 && failures === 0 ? 0 : 1)
