/**
 * Runs every check except the tests, in order. The first failing step ends the run. The last line counts the steps.
 *
 *     deno task ci                everything
 *     deno task ci lint types     these steps
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { obtainRuntime, root } from "./runtimes.ts"

const deno = obtainRuntime("deno")
/** Filters out missing paths, which Deno refuses. */
const some = (...paths: ReadonlyArray<string>) => paths.filter((path) => existsSync(join(root, path)))
const tool = (name: string, ...args: ReadonlyArray<string>) => [deno, "run", "-A", `tools/${name}.ts`, ...args]

const steps: Readonly<Record<string, () => ReadonlyArray<string>>> = {
  install: () => [deno, "install", "--frozen", "--quiet"],
  fmt: () => [deno, "fmt", "--check"],
  lint: () => [deno, "lint"],
  types: () => [deno, "check", ...some("mod.ts", "src", "test", "examples", "bench", "tools")],
  tsc: () => [obtainRuntime("node"), join("node_modules", "typescript", "bin", "tsc"), "--noEmit"],
  imports: () => tool("check_imports"),
  clock: () => tool("check_clock"),
  manifests: () => tool("check_manifests"),
  "command-line": () => tool("cli_reference", "--check"),
  "doc-lint": () => tool("doc_lint"),
  // Checks everything that would be published, slow types included, and sends nothing.
  publish: () => [deno, "publish", "--dry-run", "--allow-dirty"],
  "doc-tests": () => tool("test", "--doc"),
  etcd: () => tool("etcd"),
  package: () => tool("check_package"),
  examples: () => tool("examples"),
  bench: () => [deno, "run", "-A", "bench/main.ts", "--smoke"]
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in steps))
if (unknown.length > 0) {
  console.error(`no step ${unknown.join(", ")}; there are ${Object.keys(steps).join(", ")}`)
  process.exit(2)
}
let passed = 0
for (const [name, command] of Object.entries(steps)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n== ${name}`)
  const start = performance.now()
  const [file = "", ...args] = command()
  const { error, signal, status } = spawnSync(file, args, { cwd: root, stdio: "inherit" })
  if (status !== 0) {
    console.error(`== ${name} failed: ${error?.message ?? signal ?? `exit code ${status}`}`)
    console.log(`${passed} passed, 1 failed`)
    process.exit(1)
  }
  console.log(`== ${name}: ok (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  passed += 1
}
console.log(`${passed} passed, 0 failed`)
