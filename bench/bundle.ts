/**
 * Bundles a program of the benchmark into one file, as a user would.
 *
 * @module
 */
import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { obtainRuntime, root } from "../tools/runtimes.ts"

const built = new Map<string, string>()

/** The path of the bundle of a program in `programs/`. Runs on all three runtimes. */
export const bundleOf = (program: string): string => {
  const known = built.get(program)
  if (known !== undefined) return known
  const file = join(root, ".cache", "bench", `${program}.mjs`)
  execFileSync(obtainRuntime("bun"), [
    ...["build", "--target=node", "--minify-syntax", `--outfile=${file}`],
    join(root, "bench", "programs", `${program}.ts`)
  ], { stdio: ["ignore", "ignore", "inherit"] })
  built.set(program, file)
  return file
}
