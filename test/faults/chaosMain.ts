/**
 * Random campaigns on each runtime.
 *
 *     deno task chaos --seed 7 --minutes 60                  an hour on each runtime; the seed counts up
 *     deno task chaos --seed 7 --runtime bun                 one campaign on one runtime
 *     deno task chaos --seed 7 --keep 3,8,12                 some of its steps, as a failing run prints them
 *
 * A failing run prints its seed, removes steps as long as it still fails, and prints the shortest history.
 *
 * @module
 */
import { Effect } from "effect"
import process from "node:process"
import { obtainRuntime, runtimeNames } from "../../tools/runtimes.ts"
import { makeSecretSearch, secretPrinted } from "../../tools/secret.ts"
import { runProgram } from "../harness/program.ts"

const args = process.argv.slice(2)
const wanted = args.flatMap((arg, index) => args[index - 1] === "--runtime" ? [arg] : [])
const rest = args.filter((arg, index) => arg !== "--runtime" && args[index - 1] !== "--runtime")
const seed = rest.includes("--seed") ? [] : ["--seed", String(Math.floor(Math.random() * 1e6))]

const main = Effect.gen(function* () {
  let passed = 0
  let failed = 0
  for (const runtime of runtimeNames.filter((name) => wanted.length === 0 || wanted.includes(name))) {
    // Fetched if it is missing.
    obtainRuntime(runtime)
    console.log(`-- ${runtime} ${[...seed, ...rest].join(" ")}`)
    const code = yield* Effect.scoped(Effect.gen(function* () {
      const file = new URL("./programs/chaos.ts", import.meta.url)
      const program = yield* runProgram({ file, runtime, args: [...seed, ...rest] })
      const search = makeSecretSearch()
      program.onLine(({ text }) => {
        console.log(text)
        search(text)
      })
      const code = (yield* program.exit).code ?? 1
      if (!search("")) return code
      console.error(secretPrinted)
      return 1
    }))
    if (code === 0) passed += 1
    else failed += 1
  }
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
})

const alive = setInterval(() => {}, 1000)
process.exitCode = await Effect.runPromise(main)
clearInterval(alive)
