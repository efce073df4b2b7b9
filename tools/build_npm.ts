/**
 * Compiles the package for npm into `dist/`: JavaScript and declarations. `deno task build:npm`, then `npm pack`.
 *
 * Node does not strip types inside `node_modules`, and Bun and Deno read JavaScript as well.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { checkManifests } from "./check_manifests.ts"
import { obtainRuntime, root } from "./runtimes.ts"

const dist = join(root, "dist")

export const buildNpm = (): void => {
  checkManifests()
  rmSync(dist, { recursive: true, force: true })
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  execFileSync(obtainRuntime("node"), [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" })
  // tsc rewrites the extensions of imports in JavaScript only.
  for (const file of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".d.ts")) continue
    const path = join(dist, file)
    const text = readFileSync(path, "utf8")
    writeFileSync(path, text.replace(/((?:\bfrom |\bimport\(|^import )"\.{1,2}\/[^"]+)\.ts"/gm, '$1.js"'))
  }
}

if (import.meta.main) {
  buildNpm()
  console.log(`compiled to ${dist}`)
}
