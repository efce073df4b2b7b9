/**
 * The benchmark: what this library and its rivals cost, beside each other.
 *
 *     deno task bench [name …] [--runtime deno|bun|node|all] [--rounds N] [--json file] [--results] [--smoke] [--profile]
 *
 * `README.md` here says how it measures. It exits with 1 when a figure falls short of its limit or a turn failed.
 * `--results` writes the table, the figures and the plots into `results/`; `--smoke` runs every scenario once with small
 * numbers, and only what must hold on every machine counts. `--profile` tells where the CPU goes instead of how much it
 * is, and with `--results` writes that to `results/profiles.md`.
 *
 * @module
 */
import { Cause, Effect, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { parseArgs } from "node:util"
import { type Etcd, EtcdGrpc } from "../src/etcd/mod.ts"
import type { EtcdServer } from "../test/harness/EtcdServer.ts"
import { runProgram } from "../test/harness/program.ts"
import { eventually } from "../test/harness/real.ts"
import { obtainRuntime, type RuntimeName, runtimeNames } from "../tools/runtimes.ts"
import { goProgram } from "./go.ts"
import { contradictions, model, tables, writeModel } from "./model.ts"
import { costs, profiled, profiledRuntimes, profileFile } from "./profile.ts"
import { environment, type Lane, type Result, table, verdicts, whereOf, writeProfiles, writeResults } from "./report.ts"
import { type Contender, counters, type Figures, fill, type Scenario, startServer, told } from "./scenario.ts"
import * as balancers from "./scenarios/balancers.ts"
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
    smoke: { type: "boolean", default: false },
    profile: { type: "boolean", default: false }
  }
})
const { profile, smoke } = values
const all = [propagation, registration, burst, coldStart, fanOut, recovery, idle, sets, balancers]
  .flatMap(({ scenarios }) => scenarios(smoke))
const isWanted = (name: string) => positionals.length === 0 || positionals.some((text) => name.startsWith(text))
const wanted = (profile ? profiled(all) : all).filter(({ name }) => isWanted(name))
const runtimes = runtimeNames.filter((name) =>
  (values.runtime === "all" || values.runtime === name) && (!profile || profiledRuntimes.includes(name))
)
const rounds = Number(values.rounds ?? (smoke ? 1 : 5))
const withModel = isWanted("model") && !profile
const isNothing = wanted.length === 0 && !withModel
// What is checked in is of one run: of all scenarios, or of the model.
const isPartial = values.results && (smoke || (wanted.length > 0 && positionals.length > 0))
if (isNothing || isPartial || runtimes.length === 0 || !(rounds >= 1)) {
  console.error(
    `--results is for whole runs; rounds are at least 1; scenarios: ${
      all.map(({ name }) => name).join(", ")
    }, model; runtimes: ${runtimeNames.join(", ")}, all`
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
    const file = profile ? profileFile(scenario.name, lane.contender, lane.runtime) : undefined
    const program = yield* runProgram({
      file: lane.runtime === "go" ?
        String(go(scenario.program)) :
        new URL(`programs/${scenario.program}.ts`, import.meta.url),
      runtime,
      runtimeArgs: runtimeArgs[runtime],
      args: [lane.contender, server.endpoint, JSON.stringify(scenario.parameters)],
      ...(file === undefined ? {} : { env: { BENCH_PROFILE: file } })
    })
    const figures = yield* (scenario.drive ?? (({ program }) => told(program)))({
      contender: lane.contender,
      program,
      server,
      etcd,
      before
    })
    return file === undefined ? figures : costs(file)
  }))

/** What comes of it, or `undefined` when it failed: that is told and counted, and the rest goes on. */
const attempt = <A>(what: string, effect: Effect.Effect<A, unknown>): Effect.Effect<A | undefined> =>
  Effect.catchCause(effect, (cause) =>
    Effect.sync(() => {
      failures += 1
      console.error(`${what}: ${Cause.pretty(cause).split("\n").slice(0, 20).join("\n")}`)
      return undefined
    }))

const lanesOf = ({ contenders, program }: Scenario): ReadonlyArray<Lane> => [
  ...runtimes.flatMap((runtime) =>
    contenders.filter((contender) => !isGo(contender)).map((contender) => ({ contender, runtime }))
  ),
  ...contenders.filter((contender) => isGo(contender) && typeof go(program) === "string")
    .map((contender) => ({ contender, runtime: "go" as const }))
]

/** Milliseconds between the beginnings of turns that are taken at the same time. */
const stagger = smoke ? 500 : 2000

/** Lets the contenders take turns, as often as asked for. */
const runScenario = (scenario: Scenario): Effect.Effect<Result> =>
  Effect.gen(function* () {
    const { name, servers = "one" } = scenario
    const times = Math.min(rounds, scenario.rounds ?? rounds)
    const lanes = lanesOf(scenario).map((lane) => ({ ...lane, figures: {} as Record<string, Array<number>> }))
    const alternate = Effect.gen(function* () {
      const shared = servers === "one" ? yield* prepare(scenario) : undefined
      const takeTurns = Effect.forEach(lanes, (lane, index) =>
        Effect.gen(function* () {
          // Beside each other, but they do not all begin at once.
          if (servers === "together") yield* Effect.sleep(index * stagger)
          const turn = shared === undefined ?
            Effect.flatMap(prepare(scenario), (own) => takeTurn(scenario, lane, own)) :
            takeTurn(scenario, lane, shared)
          const figures = yield* attempt(`${name}, ${lane.contender} on ${lane.runtime}`, Effect.scoped(turn))
          for (const [figure, value] of Object.entries(figures ?? {})) (lane.figures[figure] ??= []).push(value)
          if (shared !== undefined) yield* shared.cleanUp
        }), { concurrency: servers === "together" ? "unbounded" : 1, discard: true })
      for (let round = 0; round < times; round++) yield* takeTurns
    })
    yield* attempt(name, Effect.scoped(alternate))
    return { scenario, lanes }
  })

/** Go takes part where it is at hand; a smoke run does not fetch it. */
const go = (program: string): string | Error => smoke ? new Error("a smoke run is without Go") : goProgram(program)

const isGo = (contender: Contender): boolean => contender.startsWith("go-")

let failures = 0
runtimes.forEach(obtainRuntime)
const startedAt = performance.now()
for (const { contenders, name, program } of wanted) {
  const missing = contenders.some(isGo) ? go(program) : ""
  if (missing instanceof Error && !smoke) {
    console.log(`${name} without ${contenders.filter(isGo).join(", ")}: ${missing.message}`)
  }
}
const results: Array<Result> = []
for (const scenario of wanted) {
  const result = await Effect.runPromise(runScenario(scenario))
  results.push(result)
  console.log(table(result, verdicts(result, results, smoke)))
}
const short = results.flatMap((result) => verdicts(result, results, smoke)).filter(({ holds }) => !holds)
// What the fleet runs on makes no difference to etcd: the last one will do.
const measured = withModel ?
  await Effect.runPromise(attempt("model", model(runtimes.at(-1) ?? "deno", smoke))) :
  undefined
if (measured !== undefined) {
  console.log("\n### model\n")
  console.log(Object.values(tables(measured)).join("\n\n"))
}
const wrong = measured === undefined || smoke ? [] : contradictions(measured)
const machine = environment(runtimes, results)
const report = { ...machine, rounds, results, ...(measured === undefined ? {} : { model: measured }) }
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report, undefined, 2) + "\n")
if (values.results && profile) writeProfiles(report)
else if (values.results) {
  writeResults(report)
  if (measured !== undefined) writeModel(measured, whereOf(machine))
}
for (const text of [...short.map(({ text }) => text), ...wrong]) console.log(`falls short: ${text}`)
console.log(
  `${wanted.length} scenarios in ${((performance.now() - startedAt) / 60_000).toFixed(1)} minutes: ` +
    `${short.length + wrong.length} figures fall short, ${failures} turns failed`
)
process.exit(short.length + wrong.length === 0 && failures === 0 ? 0 : 1)
