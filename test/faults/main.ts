/**
 * The whole table: every fault on every runtime.
 *
 *     deno task faults                              everything, once; writes nothing
 *     deno task faults F7 F10 --runtime bun         some faults on one runtime (both repeat)
 *     deno task faults --times 3                    three times in a row; writes bench/results/faults.md
 *     deno task faults --results                    writes it after any number of times
 *     deno task faults --subject naive              the negative control: it must break the rules that control.ts lists
 *     deno task faults --subject forgetful          the same with the other naive client
 *     deno task faults --subject naive --listed     only the faults that control.ts lists
 *     deno task faults --jobs 4                     faults at a time; default 8
 *
 * Results are written only for the library, and only if all faults ran on all runtimes.
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
import { makeSecretSearch, secretPrinted } from "../../tools/secret.ts"
import { versions } from "../harness/EtcdServer.ts"
import { runProgram } from "../harness/program.ts"
import type { Rule } from "./check.ts"
import { caughtBy } from "./control.ts"
import { burst, isGreen, type Report, tableOf } from "./report.ts"
import { subjectOf, subjects } from "./Subject.ts"
import { faults } from "./table/mod.ts"

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", multiple: true },
    times: { type: "string", default: "1" },
    jobs: { type: "string", default: "8" },
    subject: { type: "string", default: "library" },
    listed: { type: "boolean", default: false },
    results: { type: "boolean", default: false }
  }
})
const runtimes = runtimeNames.filter((name) => values.runtime === undefined || values.runtime.includes(name))
const subject = subjectOf(values.subject)
const times = Number(values.times)
if (values.subject !== subject || !(Number.isInteger(times) && times > 0)) {
  console.error(`--subject ${Object.keys(subjects).join(", ")}; --times a whole number, at least 1`)
  process.exit(2)
}
/**
 * The rules that the control expects a subject to break under a fault; none for the library and for unlisted faults.
 */
const wantedOf = (title: string): ReadonlyArray<Rule> => subject === "library" ? [] : caughtBy[subject][title] ?? []
const chosen = faults.filter(({ id, title }) =>
  (positionals.length === 0 || positionals.some((text) => id === text || (text.length > 3 && title.includes(text)))) &&
  (!values.listed || wantedOf(title).length > 0)
)
if (runtimes.length === 0 || chosen.length === 0) {
  console.error(`no fault ${positionals} on ${values.runtime}; there are ${[...new Set(faults.map(({ id }) => id))]}`)
  process.exit(2)
}
// Fetched if it is missing.
runtimes.forEach(obtainRuntime)

/** Whether an outcome is as expected. */
const isRight = (report: Report): boolean => {
  if (subject === "library") return isGreen(report)
  // A fault that did not run proves nothing, unless the client prevented it.
  const isPlayed = report.error === undefined || report.broken.length > 0
  return isPlayed && wantedOf(report.title).every((rule) => report.broken.includes(rule))
}

const run = (runtime: RuntimeName): Effect.Effect<ReadonlyArray<Report>, Error> =>
  Effect.gen(function* () {
    const program = yield* runProgram({
      file: new URL("./programs/table.ts", import.meta.url),
      runtime,
      args: ["--jobs", values.jobs, "--subject", subject, ...chosen.map(({ title }) => title)]
    })
    const reports: Array<Report> = []
    const search = makeSecretSearch()
    program.onLine(({ from, text }) => {
      search(text)
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
    if (search("")) return yield* Effect.fail(new Error(secretPrinted))
    if (reports.length !== chosen.length) {
      return yield* Effect.fail(new Error(`${reports.length} outcomes on ${runtime}`))
    }
    return reports
  }).pipe(Effect.scoped)

const main = Effect.gen(function* () {
  const all = new Map<RuntimeName, Array<Report>>(runtimes.map((name) => [name, []]))
  for (let time = 0; time < times; time++) {
    for (const runtime of runtimes) {
      const began = performance.now()
      all.get(runtime)?.push(...yield* run(runtime))
      console.log(`-- ${runtime}: ${Math.round((performance.now() - began) / 1000)} s`)
    }
  }
  const table = tableOf(chosen.map(({ title }) => title), all)
  console.log(`\n${table}\n`)
  if (subject !== "library") {
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
  const isWhole = subject === "library" && chosen.length === faults.length && runtimes.length === runtimeNames.length
  if (isWhole && (values.results || times >= 3)) {
    const folder = join(root, "bench", "results")
    mkdirSync(folder, { recursive: true })
    const file = join(folder, "faults.md")
    writeFileSync(
      file,
      [
        "# Faults",
        "",
        `Written by \`deno task faults ${times < 3 ? "--results" : `--times ${times}`}\` on ${
          new Date().toISOString().slice(0, 10)
        }: etcd ${versions[0]}, ` +
        `${cpus().length} cores, ${values.jobs} faults at a time, everything ${
          times === 1 ? "once" : `${times} times in a row`
        }.`,
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
  const outcomes = [...all.values()].flat()
  const right = outcomes.filter(isRight).length
  console.log(`${right} passed, ${outcomes.length - right} failed`)
  return right === outcomes.length ? 0 : 1
})

const alive = setInterval(() => {}, 1000)
process.exitCode = await Effect.runPromise(main)
clearInterval(alive)
