/**
 * Finds or fetches Debian's Chromium, for the tests of the web console and its screenshots.
 *
 *     deno run -A tools/chromium.ts      fetches it if it is missing, and prints how it is started
 *
 * A `chromium` on the PATH is preferred. Otherwise the tool unpacks the package and missing libraries into
 * `.cache/chromium/`, without installing anything and without root. Later runs use the cache and need no network.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import type { Browser } from "playwright-core"
import { privateApt, reasonOf, unpack, whyNoPackages } from "./debian.ts"
import { onPath, root } from "./runtimes.ts"

const cache = join(root, ".cache", "chromium")
const unpacked = join(cache, "packages")
const fontSettings = join(cache, "fonts.conf")

/** The browser, and fonts that look the same everywhere. */
const wanted = ["chromium", "fontconfig-config", "fonts-dejavu-core", "fonts-inter"] as const

/** How to start a browser. */
export interface Chromium {
  readonly executablePath: string
  readonly env: Record<string, string>
}

/** The Debian release of this machine, whose libraries fit. */
const release = (): string => {
  const found = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1]
  if (found === undefined) throw new Error("/etc/os-release names no release of Debian")
  return found
}

/** The browser on the PATH or in the cache. */
export const findChromium = (): Chromium | undefined => {
  const [installed] = onPath("chromium")
  if (installed !== undefined) return { executablePath: installed, env: {} }
  const executablePath = join(unpacked, "usr", "lib", "chromium", "chromium")
  if (!existsSync(executablePath)) return undefined
  const libraries = join(unpacked, "usr", "lib")
  const folders = [
    libraries,
    ...subfolders(libraries, /-linux-gnu/),
    ...subfolders(join(unpacked, "lib"), /-linux-gnu/)
  ]
  const nested = folders.flatMap((folder) => subfolders(folder, /^(?:pulseaudio|blas|lapack)$/))
  return {
    executablePath,
    env: { LD_LIBRARY_PATH: [...folders, ...nested].join(":"), FONTCONFIG_FILE: fontSettings }
  }
}

const subfolders = (folder: string, name: RegExp): ReadonlyArray<string> =>
  existsSync(folder) ? readdirSync(folder).filter((entry) => name.test(entry)).map((entry) => join(folder, entry)) : []

/** The packages that this machine lacks, including dependencies. */
const missingPackages = (apt: ReturnType<typeof privateApt>): ReadonlyArray<string> =>
  apt("apt-get", [
    ...["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "APT::Install-Recommends=false"],
    ...["-o", "APT::Get::Print-URIs=true", "-y", "install", ...wanted]
  ]).split("\n").flatMap((line) => /^'\S+' ([^_]+)_\S+\.deb /.exec(line)?.[1] ?? [])

/** Finds the browser or fetches it. Throws the reason if neither is possible. */
export const obtainChromium = (): Chromium => {
  const found = findChromium()
  if (found !== undefined) return found
  const reason = whyNoPackages()
  if (reason !== undefined) throw new Error(`no Chromium: ${reason}`)
  const folder = join(cache, `fetching-${process.pid}`)
  try {
    const apt = privateApt(join(folder, "apt"), [release(), `${release()}-updates`])
    apt("apt-get", ["update"])
    const names = missingPackages(apt)
    console.log(`chromium: fetching ${names.length} packages of Debian ${release()} …`)
    const fresh = join(folder, "packages")
    mkdirSync(fresh)
    apt("apt-get", ["download", ...names], fresh)
    unpack(fresh)
    rmSync(unpacked, { recursive: true, force: true })
    renameSync(fresh, unpacked)
    writeFileSync(
      fontSettings,
      `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(unpacked, "usr", "share", "fonts")}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${join(cache, "fontcache")}</cachedir>
  <alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
`
    )
  } catch (error) {
    throw new Error(`no Chromium: Debian's packages could not be fetched: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const fetched = findChromium()
  if (fetched === undefined) throw new Error("no Chromium: Debian's package holds no usr/lib/chromium/chromium")
  return fetched
}

/** Starts the browser headless, with a fresh profile and without network traffic of its own. */
export const launchChromium = async (): Promise<Browser> => {
  const { env, executablePath } = obtainChromium()
  const inherited = Object.entries(process.env).flatMap(([name, value]) => value === undefined ? [] : [[name, value]])
  const { chromium } = await import("playwright-core")
  return await chromium.launch({
    executablePath,
    env: { ...Object.fromEntries(inherited), ...env },
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    ]
  })
}

if (import.meta.main) {
  try {
    const { executablePath, env } = obtainChromium()
    console.log(executablePath, execFileSync(executablePath, ["--version"], { encoding: "utf8", env }).trim())
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}
