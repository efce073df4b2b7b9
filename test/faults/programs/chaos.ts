// Runs campaigns on this runtime, two at a time, until the time is over or one has failed.
import { Effect } from "effect"
import process from "node:process"
import { parseArgs } from "node:util"
import { campaign, campaignOf, type Planned, shrink } from "../chaos.ts"
import { brokenBy, explain, type Outcome, play } from "../Fault.ts"
import { subjectOf } from "../Subject.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "0" },
    seconds: { type: "string", default: "20" },
    keep: { type: "string" },
    subject: { type: "string", default: "library" },
    jobs: { type: "string", default: "2" },
    tries: { type: "string", default: "20" }
  }
})
const subject = subjectOf(values.subject)
const firstSeed = Number(values.seed)
const end = performance.now() + Number(values.minutes) * 60_000

const stepsOf = (seed: number): ReadonlyArray<readonly [number, Planned]> => {
  const all = campaignOf(seed, Number(values.seconds)).map((planned, index) => [index, planned] as const)
  const keep = values.keep?.split(",").map(Number)
  return keep === undefined ? all : all.filter(([index]) => keep.includes(index))
}

const run = (seed: number, steps: ReadonlyArray<readonly [number, Planned]>): Effect.Effect<Outcome> =>
  play(campaign(`seed ${seed}`, steps.map(([, planned]) => planned)), subject)

const isBad = (outcome: Outcome): boolean => outcome.error !== undefined || outcome.violations.length > 0

const report = Effect.fnUntraced(function* (seed: number, outcome: Outcome) {
  const rules = brokenBy(outcome)
  console.log(`seed ${seed} FAILED: ${rules.join(", ") || outcome.error}`)
  console.log(explain(outcome).split("\n").slice(0, 20).join("\n"))
  let shortest = outcome
  const steps = yield* shrink(
    stepsOf(seed),
    (shorter) =>
      Effect.map(run(seed, shorter), (again) => {
        const isSame = rules.length === 0 ?
          again.error !== undefined :
          brokenBy(again).some((rule) => rules.includes(rule))
        console.log(`  ${shorter.length} steps: ${isSame ? "fails, too" : "holds"}`)
        if (isSame) shortest = again
        return isSame
      }),
    Number(values.tries)
  )
  console.log(
    `the shortest: --seed ${seed} --seconds ${values.seconds} --keep ${steps.map(([index]) => index).join(",")}`
  )
  for (const [index, { after, lane, step }] of steps) {
    console.log(`  ${index} ${lane} after ${after} ms: ${JSON.stringify(step)}`)
  }
  console.log(explain(shortest))
})

const main = Effect.gen(function* () {
  let next = firstSeed
  let played = 0
  let failed: readonly [number, Outcome] | undefined
  const worker = Effect.gen(function* () {
    do {
      const seed = next++
      const outcome = yield* run(seed, stepsOf(seed))
      played++
      const worst = Math.round(Math.max(0, ...outcome.figures.converged, ...outcome.figures.back))
      console.log(
        `seed ${seed}: ${isBad(outcome) ? brokenBy(outcome).join(", ") || "could not be played" : "held"} (${
          outcome.seconds.toFixed(1)
        } s, ${outcome.history.length} entries, worst ${worst} ms)`
      )
      if (isBad(outcome)) failed ??= [seed, outcome]
    } while (performance.now() < end && failed === undefined)
  })
  const jobs = Number(values.minutes) === 0 ? 1 : Number(values.jobs)
  yield* Effect.all(Array.from({ length: jobs }, () => worker), { concurrency: "unbounded" })
  if (failed !== undefined) yield* report(...failed)
  console.log(`${played} campaigns, ${failed === undefined ? "all held" : "one failed"}`)
  return failed === undefined ? 0 : 1
})

// Effect does not keep the process alive.
const alive = setInterval(() => {}, 1000)
const code = await Effect.runPromise(main)
clearInterval(alive)
process.exit(code)
