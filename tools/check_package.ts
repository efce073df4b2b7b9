/**
 * Packs the package, checks what is in the tarball, publishes it without sending anything, installs the tarball into new
 * projects with npm and with Bun, and uses it there: the types and the examples of the documents with `tsc`, a program of
 * its own and the examples on Node and on Bun.
 *
 * @module
 */
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import process from "node:process"
import { buildNpm } from "./build_npm.ts"
import { examplesOf } from "./document_examples.ts"
import { obtainEtcd } from "./etcd.ts"
import { exampleFiles, runExample } from "./examples.ts"
import { contentProblems } from "./package_content.ts"
import { obtainRuntime, root, type RuntimeName } from "./runtimes.ts"

interface NpmManifest {
  readonly name: string
  readonly exports: Readonly<Record<string, unknown>>
  readonly devDependencies: Readonly<Record<string, string>>
}
/** The output of `npm pack --json`. */
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
/** What a user of everything installs beside the package: its peers, the optional ones included, and frameworks. */
const peers = [
  "effect",
  "@connectrpc/connect",
  "@connectrpc/connect-node",
  "@types/node",
  "express",
  "fastify",
  "@types/express"
].map(pinned)

/** A user's first program, without a server: register, discover, leave. */
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

/** The settings of TypeScript that `docs/reference/support.md` says are tested. */
const compilerSettings: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  nodenext: { module: "nodenext", exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
  bundler: { module: "esnext", moduleResolution: "bundler" }
}

const tsconfig = (settings: Readonly<Record<string, unknown>>) => ({
  compilerOptions: {
    strict: true,
    target: "esnext",
    types: ["node"],
    skipLibCheck: false,
    allowImportingTsExtensions: true,
    experimentalDecorators: true,
    noEmit: true,
    ...settings
  }
})

/** What documents use of packages that this check does not install. */
const foreign = `
declare module "@effect/platform-node" {
  import type { Layer } from "effect"
  import type { Runners } from "effect/cluster"
  import type { HttpServer } from "effect/http"
  import type { RpcSerialization } from "effect/rpc"
  import type { SocketServer } from "effect/socket"
  import type { createServer } from "node:http"
  const NodeHttpServer: {
    layer(
      create: typeof createServer,
      options: { port: number }
    ): Layer.Layer<HttpServer.HttpServer | Layer.Success<typeof HttpServer.layerServices>>
  }
  const NodeClusterSocket: {
    layerSocketServer: Layer.Layer<SocketServer.SocketServer>
    layerClientProtocol: Layer.Layer<Runners.RpcClientProtocol, never, RpcSerialization.RpcSerialization>
  }
}
declare module "@nestjs/common" {
  interface OnModuleInit { onModuleInit(): Promise<void> }
  interface OnModuleDestroy { onModuleDestroy(): Promise<void> }
  function Injectable(): ClassDecorator
  function Module(options: { providers: ReadonlyArray<unknown> }): ClassDecorator
}
declare module "@nestjs/core" {
  const NestFactory: {
    create(module: unknown): Promise<{
      enableShutdownHooks(): void
      listen(port: number): Promise<void>
      get<A>(provider: new () => A): A
    }>
  }
}
declare module "reflect-metadata"
declare module "vitest"
`
/** Modules of the user that the examples of documents import. */
const ofUser: Readonly<Record<string, string>> = {
  "discovery.ts": `import type { Client } from "${manifest.name}/promise"\n` +
    `export declare class Discovery { client: Client }\n`
}

/** Writes every TypeScript example of the documents into a folder, as a user would copy it. */
const writeDocumentExamples = (folder: string): void => {
  mkdirSync(folder)
  writeFileSync(join(folder, "foreign.d.ts"), foreign)
  for (const [file, text] of Object.entries(ofUser)) writeFileSync(join(folder, file), text)
  for (const document of ["README.md", ...markdownFiles("docs")]) {
    for (const { code, line, tag } of examplesOf(readFileSync(join(root, document), "utf8"))) {
      if (!/^(?:ts|typescript)\b/.test(tag)) continue
      // `export {}`: an example without an import is a module, too.
      writeFileSync(join(folder, `${document.replaceAll(/[/.]/g, "_")}_${line}.ts`), `${code}export {}\n`)
    }
  }
}

const markdownFiles = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => join(folder, file))

const run = (command: string, args: ReadonlyArray<string>, cwd: string): string => {
  const { error, status, stdout } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 5 * 60_000, // npm itself would retry for much longer
    // Run npm on the tested Node as well.
    env: { ...process.env, PATH: [dirname(node), process.env["PATH"]].join(delimiter) }
  })
  if (status !== 0) throw new Error(`${[command, ...args].join(" ")} failed: ${error?.message ?? ""}\n${stdout ?? ""}`)
  return stdout
}

/** Removes the lines of Effect's logger from a program's output. */
const withoutLog = (output: string): string => output.split("\n").filter((line) => !line.startsWith("[")).join("\n")

const step = (text: string) => console.log(`package: ${text}`)

/** Examples import the package's sources; users import the package by name. */
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

  // Examples that need more than the package belong to the repository only (the demo starts an etcd).
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
    writeDocumentExamples(join(project, "documents"))
    for (const file of examples) {
      writeFileSync(join(project, file), asUserWrites(readFileSync(join(root, "examples", file), "utf8")))
    }
    for (const file of readdirSync(join(root, "examples")).filter((name) => name.endsWith(".yaml"))) {
      copyFileSync(join(root, "examples", file), join(project, file))
    }
    for (const [name, settings] of Object.entries(compilerSettings)) {
      const file = join(project, `tsconfig.${name}.json`)
      writeFileSync(file, JSON.stringify(tsconfig(settings)))
      run(node, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", file], project)
      step(`types are right for ${runtime}'s install with ${name}`)
    }
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
