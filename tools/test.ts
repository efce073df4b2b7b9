/**
 * The suite on Deno, Bun and Node, one after the other, against real etcd servers.
 *
 *     deno task test                                    everything
 *     deno task test --runtime bun test/foo.test.ts     one file on one runtime (both repeat)
 *     deno task test foo                                files whose path contains "foo"
 *     deno task test --name "takes over"                tests whose name matches (Deno: of outermost groups)
 *     deno task test --jobs 1                           files at a time; default 4: they mostly wait
 *     deno task test:doc                                the examples in comments and in the README
 *
 * Prepares what is missing (packages, etcd, runtimes), so that a fresh clone needs nothing but Node and npm. Results are
 * counted from the runners' JUnit reports, the same way for all three. A runtime that ran no test has failed.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join, relative, sep } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { whyNoPackages } from "./debian.ts"
import { obtainEtcd } from "./etcd.ts"
import { buildPrograms } from "./go.ts"
import { obtainRuntime, root, runtimeEnvironment, type RuntimeName, runtimeNames, versionOf } from "./runtimes.ts"
import { makeSecretSearch, secretPrinted } from "./secret.ts"

/** No run of one runtime takes longer than this many milliseconds; a process that does not end by itself is a failure. */
const limit = 20 * 60_000
/** Milliseconds for one test; the harness has shorter ones. */
const testTimeout = 120_000

interface Counts {
  /** Tests that the report knows, whatever became of them. */
  readonly known: number
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

const reports = join(root, ".cache", "reports")

/** The command that runs the files and leaves a JUnit report. */
const commands: Record<
  RuntimeName,
  (
    options: { files: ReadonlyArray<string>; report: string; jobs: number; name: string | undefined }
  ) => ReadonlyArray<string>
> = {
  deno: ({ files, jobs, name, report }) => [
    ...["test", "-A", "--no-check", `--junit-path=${report}`],
    ...(jobs > 1 ? ["--parallel"] : []),
    ...(name === undefined ? [] : [`--filter=/${name}/`]),
    ...files
  ],
  bun: ({ files, jobs, name, report }) => [
    ...["test", `--timeout=${testTimeout}`, "--reporter=junit", `--reporter-outfile=${report}`],
    // Each file in a process of its own, as on Node.
    `--parallel=${jobs}`,
    ...(name === undefined ? [] : [`--test-name-pattern=${name}`]),
    ...files.map((file) => `./${file}`)
  ],
  node: ({ files, jobs, name, report }) => [
    ...["--test", `--test-concurrency=${jobs}`, "--test-reporter=spec", "--test-reporter-destination=stdout"],
    ...["--test-reporter=junit", `--test-reporter-destination=${report}`],
    ...(name === undefined ? [] : [`--test-name-pattern=${name}`]),
    ...files
  ]
}

const testFiles = (): ReadonlyArray<string> =>
  readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => join("test", file).split(sep).join("/"))
    .sort()

/** Counts the leaves of a report: Deno writes suites as test cases, too, and Node files without tests. */
const count = (report: string): Counts => {
  const xml = existsSync(report) ? readFileSync(report, "utf8") : ""
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)]
    .map(([, attributes = "", body = ""]) => ({ name: /\bname="([^"]*)"/.exec(attributes)?.[1] ?? "", body }))
  const suites = new Set(cases.flatMap(({ name }) => {
    const parts = name.split(" &gt; ")
    return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" &gt; "))
  }))
  const leaves = cases.filter(({ name }) => !suites.has(name) && !name.endsWith(".test.ts"))
  const failed = leaves.filter(({ body }) => /<(?:failure|error)\b/.test(body)).length
  const skipped = leaves.filter(({ body }) => /<skipped\b/.test(body)).length
  return { known: leaves.length, passed: leaves.length - failed - skipped, failed, skipped }
}

/** Passes on what is said and tells whether the secret of the tests was in it. */
const passOn = (from: NodeJS.ReadableStream, to: NodeJS.WritableStream): () => boolean => {
  const search = makeSecretSearch()
  from.setEncoding("utf8").on("data", (text: string) => {
    to.write(text)
    search(text)
  })
  return () => search("")
}

const run = (command: string, args: ReadonlyArray<string>, env: Record<string, string>): Promise<boolean> =>
  new Promise((resolve) => {
    const color: Record<string, string> = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["inherit", "pipe", "pipe"],
      env: { ...process.env, ...color, ...env }
    })
    const told = [passOn(child.stdout, process.stdout), passOn(child.stderr, process.stderr)]
    const timer = setTimeout(() => {
      console.error(`\nstill running after ${limit / 60_000} minutes: killed`)
      child.kill("SIGKILL")
    }, limit)
    child.once("error", (error) => {
      clearTimeout(timer)
      console.error(String(error))
      resolve(false)
    })
    child.once("close", (code) => {
      clearTimeout(timer)
      const leaked = told.some((found) => found())
      if (leaked) console.error(secretPrinted)
      resolve(code === 0 && !leaked)
    })
  })

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    runtime: { type: "string", multiple: true },
    name: { type: "string" },
    jobs: { type: "string", default: process.env["TEST_JOBS"] ?? "4" },
    doc: { type: "boolean", default: false }
  }
})
const stop = (message: string): never => {
  console.error(message)
  process.exit(2)
}

const deno = obtainRuntime("deno")
execFileSync(deno, ["install", "--quiet"], { cwd: root, stdio: "inherit" })

if (values.doc) {
  const sources = ["mod.ts", "README.md", "docs", "src"].filter((path) => existsSync(join(root, path)))
  process.exit(await run(deno, ["test", "--doc", "-A", ...sources], {}) ? 0 : 1)
}

const isRuntime = (name: string): name is RuntimeName => runtimeNames.some((known) => known === name)
const chosen = (values.runtime ?? runtimeNames).map((name) =>
  isRuntime(name) ? name : stop(`--runtime ${name}: there are ${runtimeNames.join(", ")}`)
)
const jobs = Number(values.jobs)
if (!(Number.isInteger(jobs) && jobs > 0)) stop(`--jobs ${values.jobs}: a whole number of files, at least 1`)

const filters = positionals.map((text) => relative(root, join(process.cwd(), text)).split(sep).join("/"))
const files = testFiles().filter((file) =>
  filters.length === 0 || filters.some((text) => file.includes(text)) || positionals.some((text) => file.includes(text))
)
if (files.length === 0) stop(`no file of test/**/*.test.ts matches ${positionals.join(" ")}`)

const paths: Partial<Record<RuntimeName, string>> = { deno }
try {
  for (const { etcd, version } of obtainEtcd()) console.log(`etcd ${version.padEnd(8)} ${etcd}`)
  // Also those that are not chosen: some tests start programs on all three.
  for (const name of runtimeNames) {
    const path = paths[name] ?? obtainRuntime(name)
    paths[name] = path
    console.log(`${name} ${versionOf(path)?.padEnd(8)} ${path}`)
  }
} catch (error) {
  stop(error instanceof Error ? error.message : String(error))
}

if (files.some((file) => file.startsWith("test/interop/"))) {
  try {
    for (const program of buildPrograms()) console.log(`go ${program}`)
  } catch (error) {
    // Without them the tests against the originals say that they are skipped. That must not go unnoticed in CI.
    const reason = error instanceof Error ? error.message : String(error)
    if (process.env["CI"] !== undefined && whyNoPackages() === undefined) stop(reason)
    console.log(reason)
  }
}

mkdirSync(reports, { recursive: true })
const results: Array<Counts & { readonly name: RuntimeName; readonly ok: boolean; readonly seconds: number }> = []
for (const name of chosen) {
  const path = paths[name] ?? stop(`no ${name}`)
  const report = join(reports, `${name}.xml`)
  rmSync(report, { force: true })
  console.log(`\n── ${name} ${versionOf(path)}: ${files.length} files`)
  const start = performance.now()
  const ended = await run(path, commands[name]({ files, report, jobs, name: values.name }), {
    ...runtimeEnvironment(paths),
    DENO_JOBS: String(jobs)
  })
  const counts = count(report)
  const ok = ended && counts.failed === 0 && counts.passed > 0
  results.push({
    ...counts,
    // What fails outside of any test (a hook, a crash, a file that does not load, no test at all) counts as one.
    failed: ok ? 0 : Math.max(1, counts.failed),
    name,
    ok,
    seconds: Math.round((performance.now() - start) / 1000)
  })
}

console.log("")
for (const { failed, known, name, ok, passed, seconds, skipped } of results) {
  const note = ok ? "" : known === 0 ? "  (no test ran)" : "  (failed)"
  console.log(`${name.padEnd(5)} ${passed} passed, ${failed} failed, ${skipped} skipped in ${seconds} s${note}`)
}
const sum = (key: "passed" | "failed") => results.reduce((total, result) => total + result[key], 0)
console.log(`${sum("passed")} passed, ${sum("failed")} failed`)
process.exit(results.every(({ ok }) => ok) ? 0 : 1)
