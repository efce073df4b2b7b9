/**
 * Where the CPU goes: what V8's sampling profiler has seen during the measured spell of a program (`startCpu` of
 * `programs/measure.ts`), added up by whose code it is.
 *
 * @module
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { root, type RuntimeName } from "../tools/runtimes.ts"
import type { Figures, Scenario } from "./scenario.ts"

/** JavaScriptCore's sampler counts waiting as work. */
export const profiledRuntimes: ReadonlyArray<RuntimeName> = ["deno", "node"]

const worthALook = [
  "propagation-1000",
  "registration-in-sequence",
  "registration-1000",
  "heartbeats",
  "cold-start-10000"
]

/** The scenarios that are profiled: beside raw `etcd3` and without limits, because sampling makes everything slower. */
export const profiled = (all: ReadonlyArray<Scenario>): ReadonlyArray<Scenario> =>
  all.filter(({ name }) => worthALook.includes(name))
    .map((scenario) => ({ ...scenario, contenders: ["ours", "raw"], limits: [] }))

/** Where a program writes its profile; that of an earlier turn is gone. */
export const profileFile = (...names: ReadonlyArray<string>): string => {
  const folder = join(root, ".cache", "profiles")
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${names.join("-")}.cpuprofile`)
  rmSync(file, { force: true })
  return file
}

const bench = pathToFileURL(join(root, "bench/")).href

/** The parts of the format of Chrome DevTools' `Profiler.Profile` that are used. Times are microseconds. */
interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

/**
 * Whose code a function is; `undefined` for the profiler itself, and for waiting and what is outside of JavaScript, which
 * V8 tells apart on Node only.
 */
const ownerOf = ({ functionName, url }: Profile["nodes"][number]["callFrame"]): string | undefined => {
  if (functionName === "(idle)" || functionName === "(program)" || functionName === "(root)") return undefined
  if (/^(?:node|ext):.*inspector/.test(url)) return undefined
  if (functionName === "(garbage collector)") return "garbage collection"
  if (url.includes("/@grpc/grpc-js/")) return "grpc-js"
  if (/\/node_modules\/effect\/|\/effect@[^/]*\//.test(url)) return "effect"
  if (url.includes("/node_modules/")) return "etcd3, protobufjs, long"
  if (url.startsWith(bench)) return "the benchmark"
  if (url.startsWith("file:") || url.startsWith("/")) return "this library"
  return "the runtime"
}

/** Milliseconds by owner. */
export const costs = (file: string): Figures => {
  const profile: Profile = JSON.parse(readFileSync(file, "utf8"))
  const owners = new Map(profile.nodes.map(({ callFrame, id }) => [id, ownerOf(callFrame)]))
  const millis: Record<string, number> = {}
  let all = 0
  for (const [index, node] of profile.samples.entries()) {
    const owner = owners.get(node)
    if (owner === undefined) continue
    const spent = (profile.timeDeltas[index] ?? 0) / 1000
    millis[owner] = (millis[owner] ?? 0) + spent
    all += spent
  }
  return { ...Object.fromEntries(Object.entries(millis).sort(([, a], [, b]) => b - a)), "all of these": all }
}
