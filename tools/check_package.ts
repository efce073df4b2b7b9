/**
 * Packs the package, checks what is in the tarball, publishes it without sending anything, installs the tarball into new projects with npm and with Bun, and uses it there: the types with
 * `tsc`, a program of its own and the examples on Node and on Bun.
 *
 * @module
 */
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import process from "node:process"
import { buildNpm } from "./build_npm.ts"
import { obtainEtcd } from "./etcd.ts"
import { exampleFiles, runExample } from "./examples.ts"
import { contentProblems } from "./package_content.ts"
import { obtainRuntime, root, type RuntimeName } from "./runtimes.ts"

interface NpmManifest {
  readonly name: string
  readonly exports: Readonly<Record<string, unknown>>
  readonly devDependencies: Readonly<Record<string, string>>
}
/** What `npm pack --json` prints. */
interface Packed {
  readonly filename: string
  readonly size: number
  readonly entryCount: number
  readonly files: ReadonlyArray<{ readonly path: string }>
}
const node = obtainRuntime("node")
const bun = obtainRuntime("bun")
const manifest: NpmManifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const pinned = (name: string) => `${name}@${manifest.devDependencies[name]}`
/** What a user of everything installs beside the package: its peers, the optional ones included, and a framework. */
const peers = [
  "effect",
  "@connectrpc/connect",
  "@connectrpc/connect-node",
  "@types/node",
  "express",
  "@types/express"
].map(pinned)

/** What a user's first program does, without a server: register, discover, leave. */
const program = `
import { Effect, Stream } from "effect"
import { discover, Registry, registerService } from "${manifest.name}"
${
  Object.keys(manifest.exports).filter((entry) => entry !== "./cli").map((entry) =>
    `import "${manifest.name}${entry.slice(1)}"`
  ).join("\n")
}

const main = Effect.gen(function*() {
  yield* registerService("orders", { endpoints: ["http://127.0.0.1:8080"] })
  const sets = yield* discover("orders").pipe(Stream.take(1), Stream.runCollect)
  for (const set of sets) console.log(\`\${set.size} instance: \${set.endpoints.join()}\`)
})

await Effect.runPromise(main.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
`
const expected = "1 instance: http://127.0.0.1:8080\n"

const tsconfig = {
  compilerOptions: {
    strict: true,
    exactOptionalPropertyTypes: true,
    target: "esnext",
    module: "nodenext",
    types: ["node"],
    skipLibCheck: false,
    allowImportingTsExtensions: true,
    noEmit: true
  }
}

const run = (command: string, args: ReadonlyArray<string>, cwd: string): string =>
  execFileSync(command, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 5 * 60_000, // npm itself would try for much longer
    // npm, too, runs on the Node that is tested.
    env: { ...process.env, PATH: [dirname(node), process.env["PATH"]].join(delimiter) }
  })

/** What a program printed itself, without the lines of Effect's logger. */
const withoutLog = (output: string): string => output.split("\n").filter((line) => !line.startsWith("[")).join("\n")

const step = (text: string) => console.log(`package: ${text}`)

/** Examples name the package by its sources; a user names it by its name. */
const asUserWrites = (source: string): string =>
  source.replaceAll('"../mod.ts"', `"${manifest.name}"`)
    .replaceAll(/"(?:\.\.\/)+src\/(\w+)\/mod\.ts"/g, `"${manifest.name}/$1"`)

await buildNpm()
obtainEtcd()
const folder = mkdtempSync(join(tmpdir(), "package-"))
try {
  const [packed]: ReadonlyArray<Packed> = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root)
  )
  if (packed === undefined) throw new Error("npm pack made no tarball")
  const problems = contentProblems(
    packed.files.map(({ path }) => path),
    (file) => readFileSync(join(root, file), "utf8")
  )
  if (problems.length > 0) throw new Error(problems.join("\n"))
  run("npm", ["publish", "--dry-run", "--ignore-scripts"], root)
  const tarball = join(folder, packed.filename)
  step(`${packed.filename}: ${packed.entryCount} files, ${Math.ceil(packed.size / 1024)} kB`)

  // Examples that need more of the repository than the package are those of the repository (the demo starts an etcd).
  const promiseExamples = readdirSync(join(root, "examples", "promise")).map((name) => join("promise", name))
  const examples = [...exampleFiles(), ...promiseExamples].filter((file) =>
    !/from "\.\.?\//.test(asUserWrites(readFileSync(join(root, "examples", file), "utf8")))
  )
  const projects: ReadonlyArray<{ readonly runtime: RuntimeName; readonly path: string; readonly add: () => string }> =
    [
      {
        runtime: "node",
        path: node,
        add: () =>
          run(
            "npm",
            ["install", "--no-audit", "--no-fund", tarball, ...peers],
            join(folder, "node")
          )
      },
      {
        runtime: "bun",
        path: bun,
        add: () => run(bun, ["add", tarball, ...peers], join(folder, "bun"))
      }
    ]
  for (const { add, path, runtime } of projects) {
    const project = join(folder, runtime)
    mkdirSync(join(project, "promise"), { recursive: true })
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }))
    copyFileSync(join(root, ".npmrc"), join(project, ".npmrc"))
    add()
    step(`installed for ${runtime}`)
    writeFileSync(join(project, "main.ts"), program)
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify(tsconfig))
    for (const file of examples) {
      writeFileSync(join(project, file), asUserWrites(readFileSync(join(root, "examples", file), "utf8")))
    }
    for (const file of readdirSync(join(root, "examples")).filter((name) => name.endsWith(".yaml"))) {
      copyFileSync(join(root, "examples", file), join(project, file))
    }
    run(node, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", project], project)
    step(`types are right for ${runtime}'s install`)
    const said = run(path, ["main.ts"], project)
    if (withoutLog(said) !== expected) throw new Error(`on ${runtime} the program said: ${said}`)
    step(`the program runs on ${runtime}`)
    const bin = join(project, "node_modules", ".bin", "etcd-discovery")
    const listed = run(path, [bin, "services", "--memory", "--json"], project)
    if (listed !== '{"services":[]}\n') throw new Error(`on ${runtime} etcd-discovery said: ${listed}`)
    step(`etcd-discovery runs on ${runtime}`)
    for (const name of examples) {
      const problem = await Effect.runPromise(runExample({ file: join(project, name), name, runtime, cwd: project }))
      if (problem !== undefined) throw new Error(`examples/${name} from the package on ${runtime}: ${problem}`)
      step(`examples/${name} runs on ${runtime}`)
    }
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
