/**
 * Finds or fetches etcd servers, and writes the list of those at hand to `.cache/etcd/versions.json`, which the test
 * harness reads. `deno task etcd` fetches and lists; `--refresh` looks for newer versions in Debian.
 *
 * - `ETCD_BIN=/path/to/etcd` (and `ETCDCTL_BIN`, else the `etcdctl` beside it or on the PATH): that server, no other.
 *   An `etcdutl` beside it is used for restores; etcd 3.6 and later need it. Pre-releases are welcome.
 * - else the `etcd` on the PATH, and on Debian the packages of three releases, unpacked side by side under `.cache/`.
 *   Nothing is installed and no root is needed: apt works on private lists, with Debian's own keys.
 *
 * Later runs find everything in `.cache/` and need no network.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import process from "node:process"
import { privateApt, reasonOf, unpack, whyNoPackages } from "./debian.ts"
import { onPath, root } from "./runtimes.ts"

export interface EtcdBinaries {
  readonly version: string
  readonly etcd: string
  readonly etcdctl: string
  /** Restores snapshots from 3.5 on; 3.6 and later have nothing else. */
  readonly etcdutl?: string
}

/** The releases of Debian whose etcd is tested: 3.4, and two of the 3.5 line. */
const releases = ["bookworm", "trixie", "sid"] as const
const doesNotRun = "does not run on this machine"

const cache = join(root, ".cache", "etcd")
const listFile = join(cache, "versions.json")
/** The version of each release, or why there is none. Releases in this file are not looked up again. */
const releasesFile = join(cache, "releases.json")

const threeWays = `No etcd server at hand, and none could be fetched. Three ways to get one:
  1. From a package manager:  apt-get install etcd-server etcd-client   (macOS: brew install etcd)
  2. From etcd's releases (github.com/etcd-io/etcd/releases): unpack the archive of your platform,
     then  ETCD_BIN=/path/to/etcd deno task test
  3. Out of the container image of docker-compose.yml:  docker create --name etcd <image>,
     docker cp etcd:/usr/local/bin/etcd .  (and etcdctl), docker rm etcd,  then as in 2.`

const readJson = (file: string): unknown => existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined

/** Atomically, because another run may be reading. */
const writeJson = (file: string, value: unknown): void => {
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(value, undefined, 2) + "\n")
  renameSync(`${file}.${process.pid}`, file)
}

/** The version of a server, such as `3.5.30` or `3.7.0-rc.1`. `undefined` if it does not run. */
const versionOf = (etcd: string): string | undefined => {
  try {
    const text = execFileSync(etcd, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    return parseVersion(text)
  } catch {
    return undefined
  }
}

/** The version in the output of `etcd --version`. */
export const parseVersion = (text: string): string | undefined => /\d+\.\d+\.\d+(?:-[\w.]+)?/.exec(text)?.[0]

/** The server and its tools, if the server runs. */
const binaries = (etcd: string | undefined, etcdctl: string | undefined): EtcdBinaries | undefined => {
  if (etcd === undefined || etcdctl === undefined || !existsSync(etcdctl)) return undefined
  const version = versionOf(etcd)
  const etcdutl = join(dirname(etcd), "etcdutl")
  return version === undefined ? undefined : { version, etcd, etcdctl, ...(existsSync(etcdutl) ? { etcdutl } : {}) }
}

const fromEnvironment = (): EtcdBinaries | undefined => {
  const etcd = process.env["ETCD_BIN"]
  if (etcd === undefined || etcd === "") return undefined
  const beside = join(dirname(etcd), "etcdctl")
  const etcdctl = process.env["ETCDCTL_BIN"] ?? (existsSync(beside) ? beside : onPath("etcdctl")[0])
  const found = binaries(etcd, etcdctl)
  if (found === undefined) {
    throw new Error(`ETCD_BIN=${etcd} does not run, or there is no etcdctl beside it, in ETCDCTL_BIN or on the PATH`)
  }
  return found
}

const fromPath = (): EtcdBinaries | undefined => binaries(onPath("etcd")[0], onPath("etcdctl")[0])

const fromCache = (): ReadonlyArray<EtcdBinaries> =>
  existsSync(cache) ?
    readdirSync(cache).filter((name) => /^\d/.test(name)).flatMap((name) => {
      const found = binaries(join(cache, name, "etcd"), join(cache, name, "etcdctl"))
      return found === undefined ? [] : [found]
    }) :
    []

/** Fetches versions of Debian's releases that this machine lacks. */
const fromDebian = (atHand: ReadonlyArray<EtcdBinaries>, refresh: boolean): void => {
  const known = (refresh ? undefined : readJson(releasesFile)) as Record<string, string> | undefined ?? {}
  const isSettled = (version?: string) => version === doesNotRun || atHand.some((one) => one.version === version)
  if (releases.every((release) => isSettled(known[release]))) return
  const missing = whyNoPackages()
  if (missing !== undefined) return console.log(`etcd: no further versions are fetched: ${missing}`)
  const folder = join(cache, "apt")
  try {
    console.log("etcd: looking for versions in Debian's releases …")
    const apt = privateApt(folder, releases)
    try {
      apt("apt-get", ["update"])
    } catch (error) {
      console.log(`etcd: apt-get update: ${reasonOf(error)}`) // one release may be missing, others there
    }
    const offers = apt("apt-cache", ["madison", "etcd-server"]).split("\n").map((line) => line.split("|"))
    for (const release of releases) {
      const offer = offers.find(([, , source = ""]) => source.includes(` ${release}/main`))?.[1]?.trim()
      if (offer === undefined) {
        console.log(`etcd: Debian ${release} did not answer`)
        continue
      }
      const version = offer.replace(/^\d+:/, "").replace(/-.*$/, "")
      if (!atHand.some((one) => one.version === version) && !existsSync(join(cache, version, "etcd"))) {
        console.log(`etcd: fetching ${version} of Debian ${release} …`)
        const unpacked = join(folder, version)
        mkdirSync(unpacked, { recursive: true })
        apt("apt-get", ["download", `etcd-server=${offer}`, `etcd-client=${offer}`], unpacked)
        unpack(unpacked)
        const bin = join(unpacked, "usr", "bin")
        // A package of a newer release may need a newer C library than this machine's.
        if (binaries(join(bin, "etcd"), join(bin, "etcdctl")) === undefined) {
          console.log(`etcd: ${version} of Debian ${release} does not run on this machine: left out`)
          known[release] = doesNotRun
          continue
        }
        mkdirSync(join(cache, version), { recursive: true })
        for (const name of ["etcdutl", "etcdctl", "etcd"].filter((name) => existsSync(join(bin, name)))) {
          copyFileSync(join(bin, name), join(cache, version, name))
          chmodSync(join(cache, version, name), 0o755)
        }
      }
      known[release] = version
    }
  } catch (error) {
    console.log(`etcd: Debian's packages could not be fetched: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  writeJson(releasesFile, known)
}

/** Orders versions, the newest first. A pre-release comes after its release. */
export const newestFirst = (a: { readonly version: string }, b: { readonly version: string }): number => {
  const [left = "", leftMark] = a.version.split("-")
  const [right = "", rightMark] = b.version.split("-")
  const byNumber = (one: string, other: string) => other.localeCompare(one, "en", { numeric: true })
  if (left !== right) return byNumber(left, right)
  if (leftMark === undefined || rightMark === undefined) {
    return Number(leftMark !== undefined) - Number(rightMark !== undefined)
  }
  return byNumber(leftMark, rightMark)
}

/** Everything available without a download, newest first, each version once. */
const atHandNow = (): ReadonlyArray<EtcdBinaries> => {
  const path = fromPath()
  const all = [...(path === undefined ? [] : [path]), ...fromCache()]
  return all.filter((one, index) => all.findIndex(({ version }) => version === one.version) === index).sort(newestFirst)
}

/** Every etcd that can be found or fetched. If there is none, throws an error that explains how to get one. */
export const obtainEtcd = (options: { readonly refresh?: boolean } = {}): ReadonlyArray<EtcdBinaries> => {
  mkdirSync(cache, { recursive: true })
  const named = fromEnvironment()
  if (named === undefined) fromDebian(atHandNow(), options.refresh ?? false)
  const all = named === undefined ? atHandNow() : [named]
  if (all.length === 0) throw new Error(threeWays)
  writeJson(listFile, all)
  return all
}

/** One etcd, quickly: the newest available one. Fetches only if there is none. */
export const anyEtcd = (): EtcdBinaries => {
  const [found] = [fromEnvironment() ?? atHandNow()].flat()
  const [one] = found === undefined ? obtainEtcd() : [found]
  if (one === undefined) throw new Error(threeWays)
  return one
}

if (import.meta.main) {
  try {
    for (const { etcd, version } of obtainEtcd({ refresh: process.argv.includes("--refresh") })) {
      console.log(`etcd ${version.padEnd(8)} ${etcd}`)
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}
