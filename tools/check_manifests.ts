/**
 * `deno.json` (JSR) and `package.json` (npm) describe one package: same name, version, license and entry points.
 *
 * @module
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { root } from "./runtimes.ts"

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
}
interface DenoManifest extends Manifest {
  readonly exports: Readonly<Record<string, string>>
}
interface NpmManifest extends Manifest {
  readonly exports: Readonly<Record<string, unknown>>
}

const read = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"))

/** Throws with everything that differs. */
export const checkManifests = (): void => {
  const deno: DenoManifest = read("deno.json")
  const npm: NpmManifest = read("package.json")
  const same = (what: string, one: unknown, other: unknown) => {
    const [a, b] = [JSON.stringify(one), JSON.stringify(other)]
    return a === b ? [] : [`${what}: deno.json has ${a}, package.json has ${b}`]
  }
  const problems = [
    ...same("name", deno.name, npm.name),
    ...same("version", deno.version, npm.version),
    ...same("license", deno.license, npm.license),
    ...same("exports", Object.keys(deno.exports), Object.keys(npm.exports)),
    ...Object.entries(deno.exports).flatMap(([entry, source]) => {
      const compiled = source.replace(/^\.\//, "./dist/").replace(/\.ts$/, "")
      return same(`exports ${entry}`, { types: `${compiled}.d.ts`, default: `${compiled}.js` }, npm.exports[entry])
    })
  ]
  if (problems.length > 0) throw new Error(problems.join("\n"))
}

if (import.meta.main) {
  try {
    checkManifests()
    console.log("deno.json and package.json agree")
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}
