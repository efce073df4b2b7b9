/**
 * Fetches Debian packages and unpacks them into a folder of this project, without installing anything and without root.
 * apt uses private lists with Debian's own keys.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { onPath } from "./runtimes.ts"

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

/** The reason why this machine cannot fetch Debian packages. `undefined` if it can. */
export const whyNoPackages = (): string | undefined =>
  onPath("apt-get").length === 0 || onPath("dpkg").length === 0 ?
    "this is no Debian machine" :
    existsSync(keyring) ?
    undefined :
    `${keyring} (package debian-archive-keyring) is missing`

/** Runs a command of apt and returns its standard output. */
export type Apt = (command: string, args: ReadonlyArray<string>, cwd?: string) => string

/** This machine's Debian mirror, from its apt sources. */
const mirror = (): string => {
  const folder = "/etc/apt/sources.list.d"
  const files = [
    "/etc/apt/sources.list",
    ...(existsSync(folder) ? readdirSync(folder).map((file) => join(folder, file)) : [])
  ]
  const text = files.filter((file) => existsSync(file)).map((file) => readFileSync(file, "utf8")).join("\n")
  return /^(?:URIs:|deb )[^\n#]*?(https?:\/\/\S+\/debian)\/?(?:\s|$)/m.exec(text)?.[1] ?? "http://deb.debian.org/debian"
}

/** apt with private lists and folders. It keeps the machine's proxies and runs none of its hooks. */
export const privateApt = (folder: string, releases: ReadonlyArray<string>): Apt => {
  for (const path of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(folder, path), { recursive: true })
  }
  const uri = mirror()
  writeFileSync(
    join(folder, "sources.list"),
    releases.map((release) => `deb [signed-by=${keyring}] ${uri} ${release} main\n`).join("")
  )
  writeFileSync(
    join(folder, "apt.conf"),
    `Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "${folder}/state";
Dir::State::status "/dev/null";
Dir::Cache "${folder}/cache";
APT::Sandbox::User "root"; // our folders need not be readable by apt's own user
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`
  )
  return (command: string, args: ReadonlyArray<string>, cwd = folder): string =>
    execFileSync(command, ["-c", join(folder, "apt.conf"), ...args], {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"]
    })
}

/** The last line of a failed command's standard error. */
export const reasonOf = (error: unknown): string => {
  const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : ""
  return stderr.split("\n").at(-1) || String(error)
}

/** Unpacks the packages in a folder into that folder and deletes them. */
export const unpack = (folder: string): void => {
  for (const deb of readdirSync(folder).filter((file) => file.endsWith(".deb"))) {
    execFileSync("dpkg", ["-x", join(folder, deb), folder])
    rmSync(join(folder, deb))
  }
}
