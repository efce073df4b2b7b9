// Runs faults on this runtime, several at a time, and prints each outcome as a line.
import { Effect } from "effect"
import process from "node:process"
import { parseArgs } from "node:util"
import { secret } from "../../../tools/secret.ts"
import { brokenBy, explain, type Fault, play } from "../Fault.ts"
import { faults } from "../table/mod.ts"
import type { Report } from "../report.ts"
import { subjectOf } from "../Subject.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { jobs: { type: "string", default: "8" }, subject: { type: "string", default: "library" } }
})

// Effect does not keep the process alive.
const alive = setInterval(() => {}, 1000)
const chosen = faults.filter(({ title }) => positionals.length === 0 || positionals.includes(title))
// The longest first, so that they do not finish last.
const order = [...chosen].sort((a, b) => (b.minutes ?? 0) - (a.minutes ?? 0))
const playAndTell = (fault: Fault) =>
  Effect.map(play(fault, subjectOf(values.subject)), (outcome) => {
    // Logs are captured, so print the progress.
    for (const line of outcome.logs.filter((line) => line.includes(secret))) console.log(line)
    const report: Report = {
      title: fault.title,
      broken: brokenBy(outcome),
      explanation: explain(outcome),
      figures: outcome.figures,
      seconds: outcome.seconds,
      ...(outcome.error === undefined ? {} : { error: outcome.error })
    }
    // Infinity is not JSON.
    console.log(`outcome ${JSON.stringify(report, (_, value: unknown) => value === Infinity ? 1e12 : value)}`)
  })
const [together, alone] = [order.filter((fault) => fault.alone !== true), order.filter((fault) => fault.alone)]
await Effect.runPromise(Effect.andThen(
  Effect.forEach(together, playAndTell, { concurrency: Number(values.jobs) }),
  Effect.forEach(alone, playAndTell)
))
clearInterval(alive)
// Wait until the output is flushed.
process.stdout.write("", () => process.exit(0))
