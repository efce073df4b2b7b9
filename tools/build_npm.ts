/**
 * Builds the package for npm into `dist/`: `deno task build:npm`, then `npm pack`.
 *
 * esbuild makes one file per entry point, and chunks for shared code, because a process that loads hundreds of small
 * files starts slowly. `tsc` writes the declarations, one per source. See docs/adr/0160-one-file-per-entry-point.md.
 *
 * @module
 */
import { build, type Plugin } from "esbuild"
import { execFileSync } from "node:child_process"
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { checkManifests } from "./check_manifests.ts"
import { obtainRuntime, root } from "./runtimes.ts"

const dist = join(root, "dist")

/**
 * Replaces an import of the barrel `effect` by imports of its modules. The barrel would load every module of Effect,
 * even in programs that import only `effect/Effect`.
 */
const withoutBarrel = (_: string, names: string): string =>
  names.split(",").map((name) => name.trim()).filter((name) => name !== "" && !name.startsWith("type ")).map((name) => {
    const [exported = "", local = exported] = name.split(" as ")
    // Functions such as `pipe` come from `effect/Function`; every other name is a module.
    return /^[a-z]/.test(exported) ?
      `import { ${name} } from "effect/Function"` :
      `import * as ${local} from "effect/${exported}"`
  }).join(";")

const modulesOfEffect: Plugin = {
  name: "modules of effect",
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/^import \{([^}]*)\} from "effect"$/gm, withoutBarrel),
      loader: "ts"
    }))
  }
}

const writeDeclarations = (): void => {
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

/** npm makes the file in `bin` executable. A package that is linked or run from here needs that as well. */
const makeExecutable = (): void => {
  const { bin }: { readonly bin: Readonly<Record<string, string>> } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8")
  )
  for (const file of Object.values(bin)) {
    const path = join(root, file)
    if (!readFileSync(path, "utf8").startsWith("#!/usr/bin/env node\n")) throw new Error(`${file} has no #! line`)
    chmodSync(path, 0o755)
  }
}

export const buildNpm = async (): Promise<void> => {
  checkManifests()
  rmSync(dist, { recursive: true, force: true })
  writeDeclarations()
  const { exports }: { readonly exports: Readonly<Record<string, string>> } = JSON.parse(
    readFileSync(join(root, "deno.json"), "utf8")
  )
  await build({
    absWorkingDir: root,
    entryPoints: Object.values(exports),
    outbase: ".",
    outdir: "dist",
    chunkNames: "chunks/[name]-[hash]",
    bundle: true,
    splitting: true,
    packages: "external",
    format: "esm",
    target: "es2022",
    sourcemap: true,
    plugins: [modulesOfEffect]
  })
  makeExecutable()
}

if (import.meta.main) {
  await buildNpm()
  console.log(`built ${dist}`)
}
