/**
 * Builds modules of the benchmark as users of the npm package would run them, on all three runtimes.
 *
 * @module
 */
import { build, type BuildOptions, type Plugin } from "esbuild"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { buildNpm } from "../tools/build_npm.ts"
import { root } from "../tools/runtimes.ts"

const dist = pathToFileURL(join(root, "dist"))

/** Replaces the import of an entry point's source by an import of the built package. */
const builtPackage: Plugin = {
  name: "the built package",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.\/\.\.\/(?:mod|src\/\w+\/mod)\.ts$/ }, ({ path }) => ({
      path: `${dist}/${path.replace("../../", "").replace(/\.ts$/, ".js")}`,
      external: true
    }))
  }
}

/** Imports the modules of Effect by their paths, as docs/guide/production.md recommends, instead of all of Effect. */
const effectByPath: Plugin = {
  name: "effect by path",
  setup({ onLoad }) {
    onLoad({ filter: /contenders\/\w+\.ts$/ }, ({ path }) => ({
      loader: "ts",
      contents: readFileSync(path, "utf8").replace(
        /import \{([^}]*)\} from "effect"/,
        (_, names: string) =>
          names.split(",").map((name) => `import * as ${name.trim()} from "effect/${name.trim()}"`).join("\n")
      )
    }))
  }
}

const built = new Map<string, Promise<string>>()

/** Builds a file of `bench/` once. Returns the path of the result. */
const make = (file: string, suffix: string, options: () => Promise<BuildOptions>): Promise<string> => {
  const outfile = join(root, ".cache", "bench", `${file.replace(/^.*\//, "")}-${suffix}.mjs`)
  const run = async () => {
    await build({
      entryPoints: [join(root, "bench", `${file}.ts`)],
      outfile,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "es2022",
      ...await options()
    })
    return outfile
  }
  const known = built.get(outfile) ?? run()
  built.set(outfile, known)
  return known
}

let packageBuilt: Promise<void> | undefined

/** A contender that imports the installed npm package and its dependencies. */
export const installed = (contender: string, byPath: boolean): Promise<string> =>
  make(`contenders/${contender}`, byPath ? "installed-by-path" : "installed", async () => {
    await (packageBuilt ??= buildNpm())
    return { packages: "external", plugins: byPath ? [builtPackage, effectByPath] : [builtPackage] }
  })

/** A program in one file, with the library and its dependencies. */
export const bundled = (program: string): Promise<string> =>
  make(`programs/${program}`, "bundled", () =>
    Promise.resolve({
      // gRPC's modules are CommonJS and call `require`.
      banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` }
    }))
