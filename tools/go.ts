/**
 * Finds or fetches a Go compiler with go-kit and etcd's own client, to build the programs that check our formats.
 *
 *     deno task go                       fetches what is missing and builds the programs of test/interop/go/
 *
 * Everything is of Debian trixie (Go 1.24, go-kit 0.13.0, etcd 3.5.16), unpacked into `.cache/go/`: nothing is
 * installed and no root is needed. The packages bring the sources of their dependencies, so the programs are built in
 * GOPATH mode and nothing else is fetched. Later runs find everything in `.cache/` and need no network.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import process from "node:process"
import { type Apt, privateApt, reasonOf, unpack, whyNoPackages } from "./debian.ts"
import { root } from "./runtimes.ts"

/** The only release whose package of go-kit has `sd/etcdv3`. */
const release = "trixie"
const wanted = ["golang-go", "golang-github-go-kit-kit-dev", "golang-etcd-server-dev"] as const
/** Large dependencies that no program here imports. */
const unneeded =
  /^golang-(?:github-(?:aws-|nats-|google-cel-|antlr-|influxdata-|jung-kurt-)|golang-x-(?:tools|image|exp)|gonum|google-(?:api|cloud-dev))/

const cache = join(root, ".cache", "go")
const packages = join(cache, release)
const reasonFile = join(cache, "unavailable.txt")
const goRoot = join(packages, "usr", "lib", "go-1.24")
const compiler = join(goRoot, "bin", "go")

/** The programs that the tests start. */
export const programs: string = join(root, "test", "interop", "go")

/** The golang-* packages that these need, including themselves. */
const withDependencies = (apt: Apt): ReadonlyArray<string> => {
  const found = new Set<string>(wanted)
  let next: ReadonlyArray<string> = wanted
  while (next.length > 0) {
    const names = apt("apt-cache", ["depends", "--important", ...next])
      .split("\n").flatMap((line) => /^ *(?:Depends|PreDepends): (golang-\S+)/.exec(line)?.[1] ?? [])
    next = [...new Set(names)].filter((name) => !found.has(name) && !unneeded.test(name))
    next.forEach((name) => found.add(name))
  }
  return [...found]
}

/** Fetches the compiler and the sources, once. */
const obtainPackages = (): void => {
  if (existsSync(compiler)) return
  const missing = whyNoPackages()
  if (missing !== undefined) throw new Error(missing)
  const folder = join(cache, `fetching-${process.pid}`)
  try {
    const apt = privateApt(join(folder, "apt"), [release])
    apt("apt-get", ["update"])
    const names = withDependencies(apt)
    console.log(`go: fetching ${names.length} packages of Debian ${release} …`)
    const unpacked = join(folder, "packages")
    mkdirSync(unpacked)
    apt("apt-get", ["download", ...names], unpacked)
    unpack(unpacked)
    // Atomically, so that an existing folder is complete.
    rmSync(packages, { recursive: true, force: true })
    renameSync(unpacked, packages)
  } catch (error) {
    throw new Error(`Debian's packages could not be fetched: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const sourcesOf = (path: string): ReadonlyArray<string> =>
  statSync(path).isDirectory() ?
    readdirSync(path).filter((file) => file.endsWith(".go")).sort().map((file) => join(path, file)) :
    [path]

/** The path of a built program. It changes with each change of the sources. */
export const goBinary = (path: string): string => {
  const hash = createHash("sha256").update(release)
  for (const file of sourcesOf(path)) hash.update(readFileSync(file))
  return join(cache, "bin", `${basename(path, ".go")}-${hash.digest("hex").slice(0, 12)}`)
}

/** Why the last attempt to get Go failed. */
export const whyNoGo = (): string | undefined => existsSync(reasonFile) ? readFileSync(reasonFile, "utf8") : undefined

/**
 * Builds the program of a Go file or of a folder, unless it exists, and returns its path. Fetches the compiler first if
 * necessary. Throws if that is impossible, or with the compiler's errors.
 */
export const buildGo = (path: string): string => {
  const binary = goBinary(path)
  if (existsSync(binary)) return binary
  mkdirSync(dirname(binary), { recursive: true })
  try {
    obtainPackages()
    rmSync(reasonFile, { force: true })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    writeFileSync(reasonFile, reason)
    throw new Error(`no Go: ${reason}`)
  }
  console.log(`go: building ${basename(path)} …`)
  const temporary = `${binary}.${process.pid}`
  try {
    execFileSync(compiler, ["build", "-o", temporary, ...sourcesOf(path)], {
      cwd: statSync(path).isDirectory() ? path : dirname(path),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"],
        HOME: cache,
        GOROOT: goRoot,
        GOPATH: join(packages, "usr", "share", "gocode"),
        GOCACHE: join(cache, "build"),
        GO111MODULE: "off",
        GOFLAGS: "",
        GOTOOLCHAIN: "local",
        CGO_ENABLED: "0"
      }
    })
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error)
    throw new Error(`${path} does not compile:\n${stderr}`)
  }
  renameSync(temporary, binary)
  return binary
}

/** Builds every program of the tests. */
export const buildPrograms = (): ReadonlyArray<string> =>
  readdirSync(programs).filter((file) => file.endsWith(".go")).sort().map((file) => buildGo(join(programs, file)))

if (import.meta.main) {
  try {
    for (const binary of buildPrograms()) console.log(binary)
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}
