/**
 * Finds or fetches nginx and HAProxy, for the tests of `etcd-discovery render`.
 *
 *     deno run -A tools/fronts.ts        fetches them and prints their paths
 *
 * Both come from Debian's packages, unpacked into `.cache/fronts/`: nothing is installed and no root is needed. Programs
 * on the PATH are preferred. Later runs find everything in `.cache/` and need no network.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { privateApt, reasonOf, unpack, whyNoPackages } from "./debian.ts"
import { onPath, root } from "./runtimes.ts"

/** The paths of the programs, and the variables that they need. */
export interface Fronts {
  readonly nginx: string
  readonly haproxy: string
  readonly env: Readonly<Record<string, string>>
}

/** A release whose packages run on every later one, because they need only an old C library. */
const release = "bookworm"
/** The programs, and the libraries that a small machine may lack. */
const packages = [
  ...["nginx", "haproxy"],
  ...["liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0", "libssl3"]
]
const cache = join(root, ".cache", "fronts")

const inFolder = (folder: string): Fronts => {
  const libraries = join(folder, "usr", "lib")
  const paths = existsSync(libraries) ?
    readdirSync(libraries).filter((name) => name.includes("-linux-")).map((name) => join(libraries, name)) :
    []
  return {
    nginx: join(folder, "usr", "sbin", "nginx"),
    haproxy: join(folder, "usr", "sbin", "haproxy"),
    env: { LD_LIBRARY_PATH: paths.join(":") }
  }
}

const onThisPath = (): Fronts | undefined => {
  const [nginx] = onPath("nginx")
  const [haproxy] = onPath("haproxy")
  return nginx === undefined || haproxy === undefined ? undefined : { nginx, haproxy, env: {} }
}

/** Finds or fetches the programs. Throws if neither is possible. */
export const obtainFronts = (): Fronts => {
  const found = onThisPath() ?? (existsSync(cache) ? inFolder(cache) : undefined)
  if (found !== undefined) return found
  const missing = whyNoPackages()
  if (missing !== undefined) throw new Error(`no nginx and HAProxy: ${missing}`)
  const folder = `${cache}-${process.pid}`
  try {
    const apt = privateApt(join(folder, "apt"), [release])
    apt("apt-get", ["update"])
    const unpacked = join(folder, "packages")
    mkdirSync(unpacked)
    apt("apt-get", ["download", ...packages], unpacked)
    unpack(unpacked)
    const { env, haproxy, nginx } = inFolder(unpacked)
    for (const program of [nginx, haproxy]) {
      execFileSync(program, ["-v"], { env: { ...process.env, ...env }, stdio: "ignore" })
    }
    // Atomically, so that an existing folder is complete.
    rmSync(cache, { recursive: true, force: true })
    renameSync(unpacked, cache)
    return inFolder(cache)
  } catch (error) {
    throw new Error(`Debian's packages of nginx and HAProxy could not be fetched: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  const { haproxy, nginx } = obtainFronts()
  console.log(`${nginx}\n${haproxy}`)
}
