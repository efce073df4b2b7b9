/**
 * The whole table: every fault on every runtime.
 *
 *     deno task faults                              everything; writes bench/results/faults.md
 *     deno task faults F7 F10 --runtime bun         some faults on one runtime (both repeat); writes nothing
 *     deno task faults --times 3                    three times in a row
 *     deno task faults --subject naive              the negative control: what it breaks must be what control.ts says
 *     deno task faults --jobs 4                     faults at a time; default 8
 *
 * @module
 */
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { obtainRuntime, root, type RuntimeName, runtimeNames } from "../../tools/runtimes.ts"
import { versions } from "../harness/EtcdServer.ts"
import { runProgram } from "../harness/program.ts"
import { caughtBy } from "./control.ts"
import { burst, isGreen, type Report, tableOf } from "./report.ts"
import { faults } from "./table/mod.ts"

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", multiple: true },
    times: { type: "string", default: "1" },
    jobs: { type: "string", default: "8" },
    subject: { type: "string", default: "library" }
  }
})
const runtimes = runtimeNames.filter((name) => values.runtime === undefined || values.runtime.includes(name))
const chosen = faults.filter(({ id, title }) =>
  positionals.length === 0 || positionals.some((text) => id === text || (text.length > 3 && title.includes(text)))
)
if (runtimes.length === 0 || chosen.length === 0) {
  console.error(`no fault ${positionals} on ${values.runtime}; there are ${[...new Set(faults.map(({ id }) => id))]}`)
  process.exit(2)
}
// Fetched if it is not at hand.
runtimes.forEach(obtainRuntime)
const isNaive = values.subject === "naive"

/** Whether an outcome is what it has to be. */
const isRight = (report: Report): boolean => {
  if (!isNaive) return isGreen(report)
  const wanted = caughtBy[report.title] ?? []
  return wanted.every((rule) => report.broken.includes(rule))
}

const run = (runtime: RuntimeName): Effect.Effect<ReadonlyArray<Report>, Error> =>
  Effect.gen(function* () {
    const program = yield* runProgram({
      file: new URL("./programs/table.ts", import.meta.url),
      runtime,
      args: ["--jobs", values.jobs, "--subject", isNaive ? "naive" : "library", ...chosen.map(({ title }) => title)]
    })
    const reports: Array<Report> = []
    program.onLine(({ from, text }) => {
      if (from === "stderr") return console.error(text)
      if (!text.startsWith("outcome ")) return console.log(text)
      const report: Report = JSON.parse(text.slice("outcome ".length))
      reports.push(report)
      const broken = report.broken.length === 0 ? "" : `  broken: ${report.broken.join(", ")}`
      console.log(
        `${isRight(report) ? "ok   " : "WRONG"} ${runtime.padEnd(4)} ${report.title} (${
          report.seconds.toFixed(1)
        } s)${broken}`
      )
      if (!isRight(report)) console.log(report.explanation)
    })
    const { code } = yield* program.exit
    if (code !== 0) return yield* Effect.fail(new Error(`the faults on ${runtime} ended with ${code}`))
    return reports
  }).pipe(Effect.scoped)

const main = Effect.gen(function* () {
  const all = new Map<RuntimeName, Array<Report>>(runtimes.map((name) => [name, []]))
  for (let time = 0; time < Number(values.times); time++) {
    for (const runtime of runtimes) {
      const began = performance.now()
      all.get(runtime)?.push(...yield* run(runtime))
      console.log(`-- ${runtime}: ${Math.round((performance.now() - began) / 1000)} s`)
    }
  }
  const table = tableOf(chosen.map(({ title }) => title), all)
  console.log(`\n${table}\n`)
  if (isNaive) {
    for (const { title } of chosen) {
      const found = [...all.values()].flat().filter((report) => report.title === title)
      const always = (found[0]?.broken ?? []).filter((rule) => found.every(({ broken }) => broken.includes(rule)))
      console.log(`  ${JSON.stringify(title)}: ${JSON.stringify(always)},`)
    }
  }
  const crowds = [...all].flatMap(([runtime, reports]) =>
    reports.filter(({ figures }) => figures.back.length >= 1000).map(({ figures, title }) => {
      const spread = Math.round(Math.max(...figures.back) - Math.min(...figures.back))
      const share = Math.round(burst(figures.back) * 100)
      return `- ${title}, on ${runtime}: the last was back ${
        (Math.max(...figures.back) / 1000).toFixed(1)
      } s after etcd, ` +
        `spread over ${(spread / 1000).toFixed(1)} s; at most ${share} % of them within any tenth of a second`
    })
  )
  console.log(crowds.join("\n"))
  if (!isNaive && chosen.length === faults.length && runtimes.length === runtimeNames.length) {
    const folder = join(root, "bench", "results")
    mkdirSync(folder, { recursive: true })
    const file = join(folder, "faults.md")
    writeFileSync(
      file,
      [
        "# Faults",
        "",
        `Written by \`deno task faults${values.times === "1" ? "" : ` --times ${values.times}`}\`: etcd ${
          versions[0]
        }, ` +
        `${cpus().length} cores, ${values.jobs} faults at a time.`,
        "",
        'Every promise is judged by an oracle (`test/faults/check.ts`); "held" means that no rule was broken. The times',
        "are from the healing of the last fault until a subscriber shows what etcd holds, and until a registrant is in",
        "etcd again for good, over all runtimes. Leases live 2 to 20 s, a silence is noticed after 2 s.",
        "",
        table,
        "",
        ...crowds,
        ""
      ].join("\n")
    )
  }
  return [...all.values()].flat().every(isRight) ? 0 : 1
})

const alive = setInterval(() => {}, 1000)
process.exitCode = await Effect.runPromise(main)
clearInterval(alive)
