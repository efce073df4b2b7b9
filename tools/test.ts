/**
 * Runs the tests on Deno, Bun and Node against real etcd servers. `matrix.ts` says which file runs where.
 *
 *     deno task test                                    the everyday matrix, about five minutes on two cores
 *     deno task test:all                                every file on every runtime with every etcd at hand
 *     deno task test:all --rest                         the part of it that `.ci/run` runs after `deno task test`
 *     deno task test --runtime bun test/foo.test.ts     one file on one runtime, whatever its class (both repeat)
 *     deno task test foo                                files whose path contains "foo"
 *     deno task test --name "takes over"                tests whose name matches (Deno: of outermost groups)
 *     deno task test --jobs 1                           files at a time; default five for each core: they mostly wait
 *     deno task test --seed 7                           the seed of property tests; `test:all` draws one
 *     deno task test:doc                                the examples in comments and in the documents
 *
 * Prepares what is missing (packages, etcd, runtimes): a fresh clone needs nothing but Node and npm. A runtime that ran
 * no test has failed.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs"
import { availableParallelism } from "node:os"
import { join, relative, sep } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { obtainChromium } from "./chromium.ts"
import { whyNoPackages } from "./debian.ts"
import { obtainEtcd } from "./etcd.ts"
import { obtainFronts } from "./fronts.ts"
import { buildPrograms } from "./go.ts"
import { type Failure, failureOf, readReport, showFailure } from "./junit.ts"
import { obtainPrometheus } from "./prometheus.ts"
import { type Run, runsOf, type Scope } from "./matrix.ts"
import { obtainRuntime, root, runtimeEnvironment, type RuntimeName, runtimeNames, versionOf } from "./runtimes.ts"
import { makeSecretSearch, secretPrinted } from "./secret.ts"

/** The time limit of one run of a runner, in milliseconds. A run that exceeds it is killed and has failed. */
const runLimitMillis = 20 * 60_000
/** Milliseconds for one test, as Bun's own limit; the harness has shorter ones. */
const testTimeoutMillis = 240_000

const reports = join(root, ".cache", "reports")

/** The command that runs the files and writes a JUnit report. */
const commands: Record<
  RuntimeName,
  (
    options: { files: ReadonlyArray<string>; report: string; jobs: number; name: string | undefined }
  ) => ReadonlyArray<string>
> = {
  deno: ({ files, jobs, name, report }) => [
    // The packages are installed. Without this, programs that tests start would wait for the lock of another check.
    ...["test", "-A", "--no-check", "--node-modules-dir=manual", `--junit-path=${report}`],
    ...(jobs > 1 ? ["--parallel"] : []),
    ...(name === undefined ? [] : [`--filter=/${name}/`]),
    ...files
  ],
  bun: ({ files, jobs, name, report }) => [
    ...["test", `--timeout=${testTimeoutMillis}`, "--reporter=junit", `--reporter-outfile=${report}`],
    // Run each file in its own process, as Node does.
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
    // Large files first: a long one at the end would leave a core idle.
    .sort((a, b) => statSync(join(root, b)).size - statSync(join(root, a)).size)

/** The end of a runner. */
interface Outcome {
  readonly hasPassed: boolean
  /** Problems besides its tests. */
  readonly problem: string | undefined
  readonly output: string
}

/** Passes the text of a stream on. Returns whether the tests' secret was in it. */
const copy = (from: NodeJS.ReadableStream, write: (text: string) => void): () => boolean => {
  const search = makeSecretSearch()
  from.setEncoding("utf8").on("data", (text: string) => {
    write(text)
    search(text)
  })
  return () => search("")
}

/** Runs a command. What it prints is printed at once, or all at its end. */
const run = (
  command: string,
  args: ReadonlyArray<string>,
  env: Record<string, string>,
  when: "at once" | "at the end" = "at once"
): Promise<Outcome> =>
  new Promise((resolve) => {
    const output: Array<string> = []
    const keep = (to: NodeJS.WritableStream) => (text: string) => {
      output.push(text)
      if (when === "at once") to.write(text)
    }
    let problem: string | undefined
    const report = (message: string) => {
      console.error(`\n${message}`)
      problem = message
    }
    const color: Record<string, string> = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["inherit", "pipe", "pipe"],
      env: { ...process.env, ...color, ...env }
    })
    const copies = [copy(child.stdout, keep(process.stdout)), copy(child.stderr, keep(process.stderr))]
    const timer = setTimeout(() => {
      report(`still running after ${runLimitMillis / 60_000} minutes: killed`)
      child.kill("SIGKILL")
      // Its programs may survive it, and keep the other ends open.
      child.stdout.destroy()
      child.stderr.destroy()
    }, runLimitMillis)
    child.once("error", (error) => {
      clearTimeout(timer)
      report(String(error))
      resolve({ hasPassed: false, problem, output: output.join("") })
    })
    child.once("close", (code) => {
      clearTimeout(timer)
      if (when === "at the end") process.stdout.write(output.join(""))
      const leaked = copies.some((hasSecret) => hasSecret())
      if (leaked) report(secretPrinted)
      resolve({ hasPassed: code === 0 && !leaked, problem, output: output.join("") })
    })
  })

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    all: { type: "boolean", default: false },
    rest: { type: "boolean", default: false },
    runtime: { type: "string", multiple: true },
    name: { type: "string" },
    jobs: { type: "string", default: process.env["TEST_JOBS"] ?? String(5 * availableParallelism()) },
    seed: { type: "string" },
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
  const { hasPassed } = await run(deno, ["test", "--doc", "-A", ...sources], {})
  process.exit(hasPassed ? 0 : 1)
}

const isRuntime = (name: string): name is RuntimeName => runtimeNames.some((known) => known === name)
const named = values.runtime?.map((name) =>
  isRuntime(name) ? name : stop(`cannot run on --runtime ${name}; use ${runtimeNames.join(", ")}`)
)
const jobs = Number(values.jobs)
if (!(Number.isInteger(jobs) && jobs > 0)) stop(`--jobs is ${values.jobs}; it must be a whole number, at least 1`)
const scope: Scope = values.rest ? "rest" : values.all || named !== undefined ? "all" : "everyday"
// One seed for each everyday run: a failure is then the change's. Other runs look for what nobody has seen yet.
const seed = values.seed ?? process.env["TEST_SEED"] ??
  (scope === "everyday" ? "1" : String(Math.floor(Math.random() * 1e9)))

const filters = positionals.map((text) => relative(root, join(process.cwd(), text)).split(sep).join("/"))
const files = testFiles().filter((file) =>
  filters.length === 0 || filters.some((text) => file.includes(text)) || positionals.some((text) => file.includes(text))
)
if (files.length === 0) stop(`no file of test/**/*.test.ts matches ${positionals.join(" ")}`)

const paths: Partial<Record<RuntimeName, string>> = { deno }
const versions: Array<string> = []
try {
  const wanted = process.env["TEST_ETCD_VERSIONS"]?.split(",") ?? [""]
  for (const { etcd, version } of obtainEtcd()) {
    console.log(`etcd ${version.padEnd(8)} ${etcd}`)
    if (wanted.some((text) => version.startsWith(text.trim()))) versions.push(version)
  }
  // Also those that do not run tests: some tests start programs on all three.
  for (const name of runtimeNames) {
    const path = paths[name] ?? obtainRuntime(name)
    paths[name] = path
    console.log(`${name} ${versionOf(path)?.padEnd(8)} ${path}`)
  }
} catch (error) {
  stop(error instanceof Error ? error.message : String(error))
}
if (versions.length === 0) stop(`no etcd matches TEST_ETCD_VERSIONS=${process.env["TEST_ETCD_VERSIONS"]}`)

const runs = runsOf(files, scope, versions, named)
if (runs.length === 0) stop(`these files run with \`deno task test:all\` only: ${files.join(" ")}`)
/** What these tests start, fetched before any of them runs: two that fetch at once would disturb each other. */
const programs: ReadonlyArray<{ readonly files: RegExp; readonly obtain: () => unknown }> = [
  { files: /^test\/(?:interop\/|coordination\/contenders)/, obtain: buildPrograms },
  { files: /^test\/cli\/render\/fronts/, obtain: obtainFronts },
  { files: /^test\/(?:cli\/render\/readers|monitoring\/prometheus)/, obtain: obtainPrometheus },
  { files: /^test\/console\/.*\.system/, obtain: obtainChromium }
]
for (const { files, obtain } of programs) {
  if (!runs.some((run) => run.files.some((file) => files.test(file)))) continue
  try {
    obtain()
  } catch (error) {
    // Without them, their tests are skipped and say so. In CI that is a failure.
    const reason = error instanceof Error ? error.message : String(error)
    if (process.env["CI"] !== undefined && whyNoPackages() === undefined) stop(reason)
    console.log(reason)
  }
}
console.log(`seed ${seed} (repeat with --seed ${seed})`)

interface Result {
  readonly title: string
  readonly passed: number
  readonly skipped: number
  readonly failures: ReadonlyArray<Failure>
  readonly note: string
  readonly seconds: number
}

const runTests = async (
  { files, runtime, versions }: Run,
  when: "at once" | "at the end"
): Promise<Result> => {
  const path = paths[runtime] ?? stop(`no ${runtime}`)
  // The name is this process's until the report is complete: another checkout may share the folder.
  const report = join(reports, `${runtime}-${versions.join("-")}.xml`)
  const written = `${report}.${process.pid}`
  const title = `${runtime}, etcd ${versions.join(" ")}`
  console.log(`\n── ${title}: ${files.length} files${when === "at once" ? "" : ", printed at their end"}`)
  const start = performance.now()
  const env = {
    ...runtimeEnvironment(paths),
    DENO_JOBS: String(jobs),
    // Each file is a process of its own on Node, and most of its time would go to compiling the same sources again.
    NODE_COMPILE_CACHE: join(root, ".cache", "compiled"),
    TEST_ETCD_VERSIONS: versions.join(),
    TEST_SEED: seed
  }
  const outcome = await run(path, commands[runtime]({ files, report: written, jobs, name: values.name }), env, when)
  const { failures, known, passed, skipped } = readReport(existsSync(written) ? readFileSync(written, "utf8") : "")
  if (existsSync(written)) renameSync(written, report)
  // A hook, a crash, a file that does not load, or no test at all: some runners do not report these.
  const isUnreported = failures.length === 0 && !(outcome.hasPassed && passed > 0)
  const unreported = outcome.problem ?? (isUnreported ? outcome.output : undefined)
  const all = unreported === undefined ? failures : [...failures, failureOf(unreported)]
  return {
    title,
    passed,
    skipped,
    failures: all,
    note: known === 0 ? "  (no test ran)" : all.length > 0 ? "  (failed)" : "",
    seconds: Math.round((performance.now() - start) / 1000)
  }
}

mkdirSync(reports, { recursive: true })
// A run of few files mostly waits for its longest one, so such runs go beside the others, one at a time.
const isSmall = ({ files }: Run) => files.length < jobs
const hasLarge = runs.some((run) => !isSmall(run))
const results: Array<Result> = []
const inTurn = async (chosen: ReadonlyArray<Run>, when: "at once" | "at the end") => {
  for (const run of chosen) results[runs.indexOf(run)] = await runTests(run, when)
}
const start = performance.now()
await Promise.all([
  inTurn(runs.filter((run) => !hasLarge || !isSmall(run)), "at once"),
  inTurn(runs.filter((run) => hasLarge && isSmall(run)), "at the end")
])
const minutes = (performance.now() - start) / 60_000

console.log("")
const width = Math.max(...results.map(({ title }) => title.length))
for (const { failures, note, passed, seconds, skipped, title } of results) {
  const counts = `${passed} passed, ${failures.length} failed, ${skipped} skipped`
  console.log(`${title.padEnd(width)}  ${counts} in ${seconds} s${note}`)
}
const total = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, number) => sum + number, 0)
const failed = total(results.map(({ failures }) => failures.length))
console.log(`${runs.length} runs in ${minutes.toFixed(1)} minutes, seed ${seed}`)
console.log(`${total(results.map(({ passed }) => passed))} passed, ${failed} failed`)
// Last of all: of a long output, some CI systems keep only the end.
for (const { failures, title } of results) {
  for (const failure of failures) console.log(`\n${title}\n${showFailure(failure)}`)
}
process.exit(failed === 0 ? 0 : 1)
