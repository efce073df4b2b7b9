/**
 * The benchmark: the cost of this library compared with raw `etcd3` and with a bare HTTP/2 client.
 *
 *     deno task bench [name …] [--runtime deno|bun|node|all] [--rounds N] [--results] [--json FILE] [--smoke]
 *
 * `README.md` in this folder explains the method. The exit code is 1 when a limit is missed or a turn failed. `--results`
 * writes the table of limits to `results/README.md`, `--json` every number to a file. `--smoke` runs each scenario once
 * with small numbers and checks only what holds on every machine.
 *
 * @module
 */
import { Cause, Effect, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import os from "node:os"
import process from "node:process"
import { parseArgs } from "node:util"
import { type Etcd, EtcdGrpc } from "../src/etcd/mod.ts"
import { type EtcdCluster, type EtcdServer, startCluster } from "../test/harness/EtcdServer.ts"
import { runProgram } from "../test/harness/program.ts"
import { eventually } from "../test/harness/real.ts"
import { obtainRuntime, type RuntimeName, runtimeNames } from "../tools/runtimes.ts"
import { bundled, installed } from "./bundle.ts"
import { counters, fill, startServer } from "./etcd.ts"
import { type Lane, type Result, verdicts } from "./figures.ts"
import { type Arguments, now } from "./programs/measure.ts"
import { environment, limitsTable, scenarioTable, writeSummary } from "./report.ts"
import type { Contender, Figures, Scenario } from "./scenario.ts"
import * as calls from "./scenarios/calls.ts"
import * as reading from "./scenarios/reading.ts"
import * as recovery from "./scenarios/recovery.ts"
import * as registration from "./scenarios/registration.ts"
import * as start from "./scenarios/start.ts"
import { runAlone } from "./turn.ts"

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", default: "deno" },
    rounds: { type: "string" },
    results: { type: "boolean", default: false },
    json: { type: "string" },
    smoke: { type: "boolean", default: false }
  }
})
const { smoke } = values
const scenarios = [start, registration, reading, recovery, calls].flatMap(({ scenarios }) => scenarios(smoke))
const wanted = scenarios.filter(({ name }) =>
  positionals.length === 0 || positionals.some((text) => name.startsWith(text))
)
const runtimes = runtimeNames.filter((name) => values.runtime === "all" || values.runtime === name)
const rounds = Number(values.rounds ?? (smoke ? 1 : 5))
if (wanted.length === 0 || runtimes.length === 0 || !(rounds >= 1)) {
  console.error(
    `cannot run the benchmark: use the scenarios ${scenarios.map(({ name }) => name).join(", ")}; --runtime ${
      runtimeNames.join(", ")
    } or all; --rounds of at least 1`
  )
  process.exit(2)
}

/** Prepares a scenario's turn, and ends it. */
interface Prepared {
  readonly server: EtcdServer
  readonly cluster: EtcdCluster | undefined
  readonly etcd: Etcd
  readonly cleanUp: Effect.Effect<void, unknown>
}

const prepare = (scenario: Scenario): Effect.Effect<Prepared, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const cluster = scenario.servers === "cluster" ? yield* startCluster(3) : undefined
    const server = cluster?.members[0] ?? (yield* startServer(smoke))
    const etcd = yield* EtcdGrpc.make({ endpoints: cluster?.endpoints ?? [server.endpoint] })
    const lease = yield* fill(etcd, scenario.instances ?? 0, scenario.services)
    const quiet = yield* counters(server)
    return {
      server,
      cluster,
      etcd,
      cleanUp: Effect.gen(function* () {
        const { leases } = yield* etcd.leaseLeases
        const left = leases.filter((id) => id !== lease)
        yield* Effect.forEach(left, (id) => Effect.ignore(etcd.leaseRevoke(id)), { concurrency: 50 })
        // After the program was killed, etcd needs a moment to close its connections.
        yield* eventually(Effect.gen(function* () {
          const { connections, keepAliveStreams, watchers, watchStreams } = yield* counters(server)
          const isQuiet = keepAliveStreams === quiet.keepAliveStreams && watchStreams === quiet.watchStreams &&
            watchers === quiet.watchers && !(connections > quiet.connections)
          if (!isQuiet) return yield* Effect.fail("etcd still has clients")
        }))
      })
    }
  })

const loads: Array<number> = []

/** Runs one turn in its own process, within its time limit. */
const takeTurn = (
  scenario: Scenario,
  contender: Contender,
  runtime: RuntimeName,
  { cluster, etcd, server }: Prepared
): Effect.Effect<Figures, unknown> =>
  Effect.scoped(Effect.gen(function* () {
    const entry = contender.bundled === undefined ?
      new URL(`programs/${scenario.program}.ts`, import.meta.url) :
      yield* Effect.promise(() => bundled(contender.bundled ?? ""))
    const client = contender.installed === true ?
      yield* Effect.promise(() => installed(contender.file, contender.byPath === true)) :
      contender.file
    loads.push(os.loadavg()[0] ?? 0)
    const before = yield* counters(server)
    const parameters = { ...scenario.parameters, ...contender.parameters, startedAt: now() }
    const program = yield* runProgram({
      file: entry,
      runtime,
      args: [JSON.stringify(
        {
          file: client,
          endpoint: (cluster?.endpoints ?? [server.endpoint]).join(),
          typed: contender.typed === true,
          parameters
        } satisfies Arguments
      )]
    })
    const limitMillis = scenario.turnLimitMillis ?? 60_000
    return yield* (scenario.drive ?? runAlone)({
      contender,
      program,
      server,
      ...(cluster === undefined ? {} : { cluster }),
      etcd,
      before
    }).pipe(Effect.timeoutOrElse({
      duration: limitMillis,
      orElse: () =>
        Effect.flatMap(
          program.lines,
          (lines) =>
            Effect.fail(
              new Error(`no figures within ${limitMillis} ms; printed: ${lines.map(({ text }) => text).join("\n")}`)
            )
        )
    }))
  }))

let failures = 0

/** The result of an effect. If it fails, prints and counts the failure, and returns `undefined`. */
const attempt = <A>(what: string, effect: Effect.Effect<A, unknown>): Effect.Effect<A | undefined> =>
  Effect.catchCause(effect, (cause) =>
    Effect.sync(() => {
      failures += 1
      console.error(`${what}: ${Cause.pretty(cause).split("\n").slice(0, 20).join("\n")}`)
      return undefined
    }))

/** Milliseconds between the starts of simultaneous turns. */
const staggerMillis = smoke ? 500 : 2000

/** Lets the contenders take turns in each round, on one runtime after the other. */
const runScenario = (scenario: Scenario): Effect.Effect<Result> =>
  Effect.gen(function* () {
    const { name, servers = "one" } = scenario
    const lanes = runtimes.flatMap((runtime) =>
      scenario.contenders.map((contender) => ({
        contender,
        runtime,
        figures: {} as Record<string, Array<number>>,
        turns: Math.min(rounds, scenario.rounds ?? rounds, contender.rounds ?? rounds)
      }))
    )
    const alternate = Effect.gen(function* () {
      const shared = servers === "one" ? yield* prepare(scenario) : undefined
      for (let round = 0; round < rounds; round++) {
        const due = lanes.filter(({ turns }) => round < turns)
        yield* Effect.forEach(due, ({ contender, figures, runtime }, index) =>
          Effect.gen(function* () {
            if (servers === "together") yield* Effect.sleep(index * staggerMillis)
            const turn = shared === undefined ?
              Effect.flatMap(prepare(scenario), (own) => takeTurn(scenario, contender, runtime, own)) :
              takeTurn(scenario, contender, runtime, shared)
            const found = yield* attempt(`${name}, ${contender.name} on ${runtime}`, Effect.scoped(turn))
            for (const [figure, value] of Object.entries(found ?? {})) (figures[figure] ??= []).push(value)
            if (shared !== undefined) yield* shared.cleanUp
          }), { concurrency: servers === "together" ? "unbounded" : 1, discard: true })
      }
    })
    yield* attempt(name, Effect.scoped(alternate))
    return {
      scenario,
      lanes: lanes.map(({ contender, figures, runtime }): Lane => ({ contender: contender.name, runtime, figures }))
    }
  })

runtimes.forEach(obtainRuntime)
const startedAt = performance.now()
const results: Array<Result> = []
for (const scenario of wanted) {
  const result = await Effect.runPromise(runScenario(scenario))
  results.push(result)
  console.log(scenarioTable(result))
}
const held = results.flatMap((result) => verdicts(result, results, smoke))
const where = environment(runtimes, rounds, loads)
console.log(["", "### limits", "", ...where.map((line) => `- ${line}`), "", limitsTable(held)].join("\n"))
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ where, results }, undefined, 2) + "\n")
if (values.results) writeSummary(where, held)
const missed = held.filter(({ holds }) => !holds).length
console.log(
  `${wanted.length} scenarios in ${((performance.now() - startedAt) / 60_000).toFixed(1)} minutes: ` +
    `${missed} of ${held.length} limits missed, ${failures} turns failed`
)
process.exit(missed === 0 && failures === 0 ? 0 : 1)
