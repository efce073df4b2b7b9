/**
 * The etcd versions at hand. `tools/etcd.ts` (`deno task etcd`) finds or fetches them and writes the list that is read
 * here, so that tests on any runtime start servers without any preparation of their own.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type { EtcdBinaries } from "../../tools/etcd.ts"

export type { EtcdBinaries } from "../../tools/etcd.ts"

const cache = fileURLToPath(new URL("../../.cache/etcd/", import.meta.url))

/** Whether a version is the wanted one, or begins so: `3.5` is every 3.5, `3.7.0` also its pre-releases. */
const isVersion = (version: string, wanted: string): boolean =>
  version === wanted || version.startsWith(`${wanted}.`) || version.startsWith(`${wanted}-`)

const read = (): ReadonlyArray<EtcdBinaries> => {
  const file = resolve(cache, "versions.json")
  if (!existsSync(file)) throw new Error("No etcd at hand: run `deno task etcd` once, it finds or fetches some")
  const all: ReadonlyArray<EtcdBinaries> = JSON.parse(readFileSync(file, "utf8"))
  const wanted = (process.env["TEST_ETCD_VERSIONS"] ?? "").split(",").map((text) => text.trim()).filter((text) => text)
  const chosen = wanted.length === 0 ?
    all :
    all.filter(({ version }) => wanted.some((text) => isVersion(version, text)))
  if (chosen.length === 0) {
    throw new Error(`TEST_ETCD_VERSIONS=${wanted} matches none of ${all.map(({ version }) => version)}`)
  }
  // The server runs in a folder of its own, so the paths must be absolute.
  return chosen.map(({ etcd, etcdctl, etcdutl, version }) => ({
    version,
    etcd: resolve(cache, etcd),
    etcdctl: resolve(cache, etcdctl),
    ...(etcdutl === undefined ? {} : { etcdutl: resolve(cache, etcdutl) })
  }))
}

/**
 * The versions at hand with their binaries, newest first. `TEST_ETCD_VERSIONS=3.5.30,3.4` keeps those that are named or
 * start so.
 */
export const etcdBinaries: ReadonlyArray<EtcdBinaries> = read()

/** The versions at hand, newest first. */
export const versions: ReadonlyArray<string> = etcdBinaries.map(({ version }) => version)

/** The binaries of one version (exact, or its beginning: `"3.4"`); of the newest by default. */
export const binariesOf = (version?: string): EtcdBinaries => {
  const found = etcdBinaries.find((one) => version === undefined || isVersion(one.version, version))
  if (found === undefined) throw new Error(`etcd ${version} is not at hand, only ${versions.join(", ")}`)
  return found
}

/** Whether a version of etcd is older than another one. */
export const isBefore = (version: string, other: string): boolean =>
  version.localeCompare(other, undefined, { numeric: true }) < 0
