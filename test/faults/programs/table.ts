// Plays faults on the runtime that runs it, several at a time, and prints each outcome as a line.
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

// Effect alone would not keep the process.
const alive = setInterval(() => {}, 1000)
const chosen = faults.filter(({ title }) => positionals.length === 0 || positionals.includes(title))
// The longest first, so that they do not stay behind.
const order = [...chosen].sort((a, b) => (b.minutes ?? 0) - (a.minutes ?? 0))
const playAndTell = (fault: Fault) =>
  Effect.map(play(fault, subjectOf(values.subject)), (outcome) => {
    // Whoever reads this looks for it: what is logged is not printed otherwise.
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
// What is written may still be on its way into the pipe.
process.stdout.write("", () => process.exit(0))
