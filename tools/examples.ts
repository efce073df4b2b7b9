/**
 * Runs each program of `examples/` on each runtime, with its own etcd, whose endpoint is in `ETCD_ENDPOINTS`.
 *
 *     deno run -A tools/examples.ts [--runtime bun] [register …]
 *
 * An example exits by itself with 0. An example that waits for a signal gets SIGTERM after some seconds, and must then
 * exit at once with 0 or with 130 (interrupted), as `runMain` does. In both cases it must leave no key in etcd.
 *
 * @module
 */
import { Effect } from "effect"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { etcdctl, startEtcd } from "../test/harness/EtcdServer.ts"
import { runProgram } from "../test/harness/program.ts"
import { pause } from "../test/harness/real.ts"
import { obtainEtcd } from "./etcd.ts"
import { obtainRuntime, root, type RuntimeName, runtimeNames } from "./runtimes.ts"

/** How long, in milliseconds, an example may run before SIGTERM. The demo takes longer. */
const patience = (name: string): number => name === "demo.ts" ? 120_000 : 20_000
/** An example that prints something and is then silent for this many milliseconds is a server, and gets SIGTERM. */
const quiet = 3000
/** How long, in milliseconds, an example may take to exit after SIGTERM. */
const grace = 10_000

const timed = <A, E>(effect: Effect.Effect<A, E>, milliseconds: number): Effect.Effect<A | "late", E> =>
  Effect.raceFirst(effect, Effect.as(pause(milliseconds), "late" as const))

/** Runs one example. Returns the problem, if there is one. */
export const runExample = (
  options: { readonly file: string; readonly name: string; readonly runtime: RuntimeName; readonly cwd?: string }
): Effect.Effect<string | undefined, Error> =>
  Effect.scoped(Effect.gen(function* () {
    const etcd = yield* startEtcd()
    const program = yield* runProgram({ ...options, env: { ETCD_ENDPOINTS: etcd.endpoint } })
    const settled = Effect.gen(function* () {
      let before = 0
      while (true) {
        const { length } = yield* program.lines
        if (length > 0 && length === before) return
        before = length
        yield* pause(quiet)
      }
    })
    const limit = patience(options.name)
    let exit = options.name === "demo.ts" ?
      yield* timed(program.exit, limit) :
      yield* timed(Effect.raceFirst(program.exit, Effect.as(settled, "late" as const)), limit)
    const signalled = exit === "late"
    if (exit === "late") {
      yield* program.signal("SIGTERM")
      exit = yield* timed(program.exit, grace)
    }
    const said = (yield* program.lines).map(({ text }) => `    ${text}`).join("\n")
    if (exit === "late") return `does not end on SIGTERM\n${said}`
    if (exit.code !== 0 && !(signalled && exit.code === 130)) return `ended with ${JSON.stringify(exit)}\n${said}`
    const left = (yield* etcdctl(etcd, "get", "", "--from-key", "--keys-only")).trim()
    return left === "" ? undefined : `left keys in etcd: ${left}\n${said}`
  }))

/** The programs of `examples/`. Shared helpers are in folders. */
export const exampleFiles = (folder: string = join(root, "examples")): ReadonlyArray<string> =>
  existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".ts")).sort() : []

if (import.meta.main) {
  const { positionals, values } = parseArgs({
    args: process.argv.slice(2),
    allowPositionals: true,
    options: { runtime: { type: "string", multiple: true } }
  })
  const names = exampleFiles().filter((file) =>
    positionals.length === 0 || positionals.some((text) => file.includes(text))
  )
  const runtimes = runtimeNames.filter((name) => values.runtime === undefined || values.runtime.includes(name))
  obtainEtcd()
  runtimes.forEach(obtainRuntime)
  const isNothing = names.length === 0 || runtimes.length === 0
  let failed = isNothing ? 1 : 0
  if (isNothing) console.error("no example or no runtime has this name")
  for (const name of names) {
    for (const runtime of runtimes) {
      const start = performance.now()
      const problem = await Effect.runPromise(
        Effect.catch(
          runExample({ file: join(root, "examples", name), name, runtime }),
          (error) => Effect.succeed(error.message)
        )
      )
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      console.log(`examples/${name} on ${runtime}: ${problem ?? `ok (${seconds} s)`}`)
      if (problem !== undefined) failed++
    }
  }
  process.exit(failed === 0 ? 0 : 1)
}
