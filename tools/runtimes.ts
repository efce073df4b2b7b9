/**
 * Finds the executables of the three runtimes. Fetches a missing one from npm into `.cache/`.
 *
 * Bun is an npm dev dependency whose binary sits in a package of the platform; its install script may not have run, so
 * the binary is looked up there. Node is any Node on the PATH that is new enough, else the npm package of the platform.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"

export type RuntimeName = "deno" | "bun" | "node"

export const runtimeNames: ReadonlyArray<RuntimeName> = ["deno", "bun", "node"]

/** The project's folder. */
export const root: string = fileURLToPath(new URL("../", import.meta.url))

/** The version to fetch if there is no other. */
const nodeVersion = "24.21.0"
const oldestNode = [22, 19] as const
const nodeFolder = join(root, ".cache", "runtimes", "node")

/** The runtime that executes this module. */
export const current: RuntimeName = "deno" in process.versions ? "deno" : "bun" in process.versions ? "bun" : "node"

const exe = process.platform === "win32" ? ".exe" : ""

export const onPath = (name: string): ReadonlyArray<string> =>
  (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "")
    .map((folder) => join(folder, name + exe)).filter((file) => existsSync(file))

/** The version that an executable reports. `undefined` if it does not run. */
export const versionOf = (file: string): string | undefined => {
  try {
    const text = execFileSync(file, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    return /(\d+)\.(\d+)\.(\d+)/.exec(text)?.[0]
  } catch {
    return undefined
  }
}

const isNewEnough = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])
}

/** Folders that contain packages: npm's own layout, and Deno's with one folder per package and version. */
const packageFolders = (name: string): ReadonlyArray<string> => {
  const modules = join(root, "node_modules")
  const deno = join(modules, ".deno")
  const flat = name.replace("/", "+")
  const nested = existsSync(deno) ? readdirSync(deno).filter((entry) => entry.startsWith(`${flat}@`)) : []
  return [join(modules, name), ...nested.map((entry) => join(deno, entry, "node_modules", name))]
}

/** The environment variables that name an executable; the test tool sets them for the processes it starts. */
const variableOf = (name: RuntimeName): string => `TEST_${name.toUpperCase()}`

const candidates = (name: RuntimeName): ReadonlyArray<string> => {
  const named = process.env[variableOf(name)]
  const self = current === name ? [process.execPath] : []
  const first = [...self, ...(named === undefined ? [] : [named])]
  switch (name) {
    case "deno":
      return [...first, ...onPath("deno")]
    case "bun": {
      const platform = process.platform === "win32" ? "windows" : process.platform
      const arch = process.arch === "arm64" ? "aarch64" : process.arch
      return [
        ...first,
        ...["", "-musl", "-baseline"].flatMap((kind) => packageFolders(`@oven/bun-${platform}-${arch}${kind}`))
          .map((folder) => join(folder, "bin", `bun${exe}`)),
        ...packageFolders("bun").map((folder) => join(folder, "bin", "bun.exe")),
        ...onPath("bun")
      ]
    }
    case "node":
      return [...first, join(nodeFolder, "node_modules", nodePackage(), "bin", `node${exe}`), ...onPath("node")]
  }
}

const nodePackage = (): string => `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`

/** The executable of a runtime, if it exists and runs. The running one if it is of that kind. */
export const findRuntime = (name: RuntimeName): string | undefined =>
  candidates(name).find((file) => {
    if (!existsSync(file)) return false
    const version = versionOf(file)
    return version !== undefined && (name !== "node" || isNewEnough(version))
  })

/** Finds a runtime or fetches it. Returns the reason if neither is possible. */
export const obtainRuntime = (name: RuntimeName): string => {
  const found = findRuntime(name)
  if (found !== undefined) return found
  if (name === "node") {
    console.log(`No Node >= ${oldestNode.join(".")} on the PATH: fetching ${nodeVersion} from npm into .cache/`)
    mkdirSync(nodeFolder, { recursive: true })
    execFileSync("npm", [
      "install",
      "--prefix",
      nodeFolder,
      "--no-save",
      "--no-package-lock",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      `${nodePackage()}@${nodeVersion}`
    ], { stdio: ["ignore", "ignore", "inherit"], shell: process.platform === "win32" })
    const fetched = findRuntime(name)
    if (fetched !== undefined) return fetched
  }
  const pinned: { readonly devDependencies: Readonly<Record<string, string>> } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8")
  )
  throw new Error(
    {
      deno: "No deno: run this through `npx --yes deno@2.9.3 task …`, or put deno on the PATH",
      bun: `No bun: \`deno install\` or \`npm install\` brings bun ${
        pinned.devDependencies["bun"]
      }; or put bun on the PATH`,
      node: `No Node >= ${oldestNode.join(".")}: put one on the PATH, or name it in ${variableOf("node")}`
    }[name]
  )
}

/** The executables as environment variables, so that child processes need not search again. */
export const runtimeEnvironment = (paths: Partial<Record<RuntimeName, string>>): Record<string, string> =>
  Object.fromEntries(runtimeNames.flatMap((name) => {
    const path = paths[name]
    return path === undefined ? [] : [[variableOf(name), path]]
  }))
