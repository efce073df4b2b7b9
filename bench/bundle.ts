/**
 * Builds a program of the benchmark as a user of the npm package would run it.
 *
 * @module
 */
import { build, type Plugin } from "esbuild"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { buildNpm } from "../tools/build_npm.ts"
import { root } from "../tools/runtimes.ts"

/** `installed` imports the npm package; `oneFile` has everything in one file. */
export type Form = "installed" | "oneFile"

export interface Built {
  /** In `programs/`. */
  readonly program: string
  readonly form: Form
}

const dist = pathToFileURL(join(root, "dist"))

/** An import of a source of an entry point becomes one of the built package. */
const builtPackage: Plugin = {
  name: "the built package",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.\/\.\.\/(?:mod|src\/\w+\/mod)\.ts$/ }, ({ path }) => ({
      path: `${dist}/${path.replace("../../", "").replace(/\.ts$/, ".js")}`,
      external: true
    }))
  }
}

let packageBuilt: Promise<void> | undefined
const built = new Map<string, Promise<string>>()

const make = async ({ form, program }: Built): Promise<string> => {
  const outfile = join(root, ".cache", "bench", `${program}-${form}.mjs`)
  if (form === "installed") await (packageBuilt ??= buildNpm())
  await build({
    entryPoints: [join(root, "bench", "programs", `${program}.ts`)],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "es2022",
    // The modules of gRPC are CommonJS and call `require`.
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
    ...(form === "installed" ? { packages: "external", plugins: [builtPackage] } : {})
  })
  return outfile
}

/** The path of a program in `programs/` in this form. It runs on all three runtimes. */
export const bundleOf = ({ form, program }: Built): Promise<string> => {
  const key = `${program} ${form}`
  const known = built.get(key) ?? make({ form, program })
  built.set(key, known)
  return known
}
