/**
 * Finds or fetches Prometheus and promtool, for the tests of `./monitoring` and of the files in `examples/monitoring/`.
 *
 *     deno run -A tools/prometheus.ts    fetches them and prints their paths
 *
 * Both come from Debian's package, unpacked into `.cache/prometheus/`: nothing is installed and no root is needed.
 * Programs on the PATH are preferred. Later runs find everything in `.cache/` and need no network.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { privateApt, reasonOf, unpack, whyNoPackages } from "./debian.ts"
import { onPath, root } from "./runtimes.ts"

/** Paths of the programs. */
export interface Prometheus {
  readonly prometheus: string
  readonly promtool: string
}

/** A release whose package runs on every later one, because it needs only an old C library. */
const release = "bookworm"
const cache = join(root, ".cache", "prometheus")
const cached: Prometheus = { prometheus: join(cache, "prometheus"), promtool: join(cache, "promtool") }

const areThere = ({ prometheus, promtool }: Prometheus): boolean => existsSync(prometheus) && existsSync(promtool)

const onThisPath = (): Prometheus | undefined => {
  const [prometheus] = onPath("prometheus")
  const [promtool] = onPath("promtool")
  return prometheus === undefined || promtool === undefined ? undefined : { prometheus, promtool }
}

/** Finds or fetches the programs. Throws if neither is possible. */
export const obtainPrometheus = (): Prometheus => {
  const found = onThisPath() ?? (areThere(cached) ? cached : undefined)
  if (found !== undefined) return found
  const missing = whyNoPackages()
  if (missing !== undefined) throw new Error(`no Prometheus: ${missing}`)
  const folder = `${cache}-${process.pid}`
  try {
    const apt = privateApt(join(folder, "apt"), [release])
    apt("apt-get", ["update"])
    const unpacked = join(folder, "packages")
    mkdirSync(unpacked)
    apt("apt-get", ["download", "prometheus"], unpacked)
    unpack(unpacked)
    const programs = join(folder, "programs")
    mkdirSync(programs)
    for (const name of ["prometheus", "promtool"]) {
      copyFileSync(join(unpacked, "usr", "bin", name), join(programs, name))
      execFileSync(join(programs, name), ["--version"], { stdio: "ignore" })
    }
    // Atomically, so that an existing folder is complete.
    rmSync(cache, { recursive: true, force: true })
    renameSync(programs, cache)
    return cached
  } catch (error) {
    throw new Error(`Debian's package of Prometheus could not be fetched: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  const { prometheus, promtool } = obtainPrometheus()
  console.log(`${prometheus}\n${promtool}`)
}
