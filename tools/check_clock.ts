/**
 * Finds uses of the wall clock in `src/`. The wall clock can jump, for example when a machine's time is set or when it
 * wakes from sleep. Durations and deadlines use the monotonic clock of `internal/time/monotonic.ts`.
 *
 *     deno run -A tools/check_clock.ts
 *
 * Prints each use outside the table below, and each row without a use. Exits with 1 if there is any.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs"
import { join, sep } from "node:path"
import process from "node:process"
import { root } from "./runtimes.ts"

/** The files that may use it, and why. */
const allowed: ReadonlyMap<string, string> = new Map([
  ["src/etcd/grpc/Channel.ts", "a deadline of grpc-js is a date"],
  ["src/cli/commands/changes.ts", "the time of a change is shown to people"],
  ["src/cli/doctor/facts.ts", "the time to which certificates are compared"],
  ["src/cli/doctor/greet.ts", "the clock of this machine is compared with that of etcd"],
  ["src/config/followKey.ts", "`since` of `Freshness.Stale` is shown to people"],
  ["src/console/assets/script.ts", "runs in a browser, which has no other clock that goes on during sleep"],
  ["src/console/Source.ts", "the epoch that monotonic times are shown in"],
  ["src/persistence/EtcdPersistence.ts", "the expiry of an entry is for other processes"],
  ["src/persistence/EtcdRateLimiterStore.ts", "the times of a rate limit are for other processes"],
  ["src/registry/discovery/SharedWatch.ts", "`since` of `Freshness.Stale` is shown to people"],
  ["src/etcd/Session.ts", "a lease id contains the time of its grant, for other processes"],
  ["src/registry/registration/claim.ts", "the age of another process's lease, from its id"],
  ["src/registry/registration/health.ts", "`since` of the health is shown to people"],
  ["src/registry/registration/held.ts", "`since` of a status is shown to people"],
  ["src/registry/registration/run.ts", "a log line contains the duration of a loss"],
  ["src/testing/FaultyEtcd.ts", "`at` of a recorded call is shown to people"]
])

const wallClock = /\bDate\.now\b|\bnew Date\(\)|\bcurrentTime(?:Millis|Nanos)(?:Unsafe)?\b|\bDateTime\.now(?:Unsafe)?\b/

/** The problems of a set of modules, by path. Comments may mention the wall clock. */
export const check = (
  modules: ReadonlyMap<string, string>,
  table: ReadonlyMap<string, string> = allowed
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const used = new Set<string>()
  for (const [file, source] of modules) {
    const code = source.replace(/\/\*[\s\S]*?\*\//g, (text) => text.replace(/[^\n]/g, " "))
    code.split("\n").forEach((line, index) => {
      if (!wallClock.test(line.replace(/\/\/.*$/, ""))) return
      used.add(file)
      if (!table.has(file)) problems.push(`${file}:${index + 1}: uses the wall clock; use internal/time/monotonic.ts`)
    })
  }
  for (const file of table.keys()) {
    if (!used.has(file)) problems.push(`${file}: does not use the wall clock; remove its row in tools/check_clock.ts`)
  }
  return problems
}

if (import.meta.main) {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts")).map((file) => join("src", file).split(sep).join("/")).sort()
  const problems = check(new Map(files.map((file) => [file, readFileSync(join(root, file), "utf8")])))
  problems.forEach((problem) => console.error(problem))
  console.log(`wall clock: ${files.length} files, ${problems.length} problems`)
  process.exit(problems.length === 0 ? 0 : 1)
}
