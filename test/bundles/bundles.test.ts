/**
 * Single-file bundles of a program that uses the package as npm has it, run against a real etcd from a folder without
 * `node_modules`.
 *
 * The bundlers are installed from npm into a project outside of the repository. If one cannot be installed, its tests
 * fail. Node is the host; each bundle runs on the runtime that it is built for.
 *
 * @module
 */
import { Effect } from "effect"
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import process from "node:process"
import { after, before, describe } from "node:test"
import { buildNpm } from "../../tools/build_npm.ts"
import { current, obtainRuntime, root } from "../../tools/runtimes.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { toError } from "../harness/real.ts"

const manifest: { readonly name: string; readonly devDependencies: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
)

const bundlers = {
  esbuild: "0.28.2",
  tsup: "9.0.0",
  typescript: "5.9.3",
  vite: "8.4.0",
  webpack: "5.113.0",
  "webpack-cli": "7.3.1"
}

interface Bundle {
  readonly title: string
  /** Written into the project before the build. */
  readonly config?: { readonly file: string; readonly text: string }
  readonly command: readonly [tool: "bun" | "deno" | "node", ...args: ReadonlyArray<string>]
  readonly output: string
  readonly runsOn: "bun" | "deno" | "native" | "node"
}

/** The banner that an ESM bundle for Node needs for its CommonJS parts. README shows it. */
const banner = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`

const esbuild = (options: object): string =>
  `import { build } from "esbuild"\nawait build(${
    JSON.stringify({ entryPoints: ["main.js"], bundle: true, platform: "node", logLevel: "error", ...options })
  })\n`

const bundles: ReadonlyArray<Bundle> = [
  {
    title: "esbuild as CommonJS",
    config: { file: "esbuild.cjs.mjs", text: esbuild({ format: "cjs", outfile: "out/main.cjs" }) },
    command: ["node", "esbuild.cjs.mjs"],
    output: "main.cjs",
    runsOn: "node"
  },
  {
    title: "esbuild as ESM with the createRequire banner",
    config: {
      file: "esbuild.esm.mjs",
      text: esbuild({ format: "esm", outfile: "out/main.mjs", banner: { js: banner } })
    },
    command: ["node", "esbuild.esm.mjs"],
    output: "main.mjs",
    runsOn: "node"
  },
  {
    title: "tsup with noExternal",
    config: {
      file: "tsup.config.js",
      text: `export default {
  entry: ["main.js"], format: ["cjs"], platform: "node", noExternal: [/.*/], splitting: false,
  outDir: "out", outExtension: () => ({ js: ".cjs" }), silent: true, config: false
}\n`
    },
    command: ["node", "node_modules/tsup/dist/cli-default.js"],
    output: "main.cjs",
    runsOn: "node"
  },
  {
    title: "Vite SSR with noExternal",
    config: {
      file: "vite.config.js",
      text: `export default {
  logLevel: "error",
  ssr: { noExternal: true, target: "node" },
  build: {
    ssr: "main.js", outDir: "out",
    rolldownOptions: { output: { codeSplitting: false, entryFileNames: "main.mjs" } }
  }
}\n`
    },
    command: ["node", "node_modules/vite/bin/vite.js", "build"],
    output: "main.mjs",
    runsOn: "node"
  },
  {
    title: "webpack",
    config: {
      file: "webpack.config.cjs",
      text: `module.exports = {
  mode: "production", target: "node22", entry: "./main.js", stats: "errors-only",
  output: { path: __dirname + "/out", filename: "main.cjs", asyncChunks: false }
}\n`
    },
    command: ["node", "node_modules/webpack/bin/webpack.js", "-c", "webpack.config.cjs"],
    output: "main.cjs",
    runsOn: "node"
  },
  {
    title: "deno bundle",
    command: ["deno", "bundle", "--quiet", "--platform", "deno", "-o", "out/main.js", "main.js"],
    output: "main.js",
    runsOn: "deno"
  },
  {
    title: "bun build",
    command: ["bun", "build", "main.js", "--target=bun", "--outfile=out/main.js"],
    output: "main.js",
    runsOn: "bun"
  },
  {
    title: "bun build --compile",
    command: ["bun", "build", "main.js", "--compile", "--outfile=out/main"],
    output: "main",
    runsOn: "native"
  }
]

/** The output of a command. Fails with what it wrote to stderr. */
const run = (command: string, args: ReadonlyArray<string>, cwd: string): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    // npm and the bundlers run on the Node that runs this test.
    const env = { ...process.env, PATH: [dirname(obtainRuntime("node")), process.env["PATH"]].join(delimiter) }
    const child = execFile(command, args, { cwd, env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) return resume(Effect.succeed(stdout))
      resume(Effect.fail(new Error(`${command} ${args.join(" ")}: ${error.message}\n${stdout}\n${stderr}`)))
    })
    return Effect.sync(() => child.kill())
  })

/** A project that has the packed package, the bundlers and the program. */
const install = (project: string) =>
  Effect.gen(function* () {
    yield* Effect.tryPromise({ try: buildNpm, catch: toError })
    const packed = yield* run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", project], root)
    const [{ filename }] = JSON.parse(packed) as [{ readonly filename: string }]
    copyFileSync(join(root, ".npmrc"), join(project, ".npmrc"))
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }))
    const pinned = Object.entries(bundlers).map(([name, version]) => `${name}@${version}`)
    yield* run(
      "npm",
      [
        "install",
        "--no-audit",
        "--no-fund",
        `./${filename}`,
        `effect@${manifest.devDependencies["effect"]}`,
        ...pinned
      ],
      project
    )
    const program = readFileSync(new URL("./program.ts", import.meta.url), "utf8")
    const main = program.replace("../../mod.ts", manifest.name)
      .replaceAll(/"\.\.\/\.\.\/src\/(\w+)\/mod\.ts"/g, `"${manifest.name}/$1"`)
    writeFileSync(join(project, "main.js"), main)
  })

if (current === "node") {
  describe("bundles", () => {
    const folder = mkdtempSync(join(tmpdir(), "bundles-"))
    const project = join(folder, "project")

    before(async () => {
      mkdirSync(project)
      await Effect.runPromise(install(project))
    }, { timeout: 300_000 })
    after(() => rmSync(folder, { recursive: true, force: true }))

    for (const { command: [tool, ...args], config, output, runsOn, title } of bundles) {
      live(
        `a bundle of ${title} registers, discovers and reads the cluster's state without node_modules`,
        () =>
          Effect.gen(function* () {
            rmSync(join(project, "out"), { recursive: true, force: true })
            if (config !== undefined) writeFileSync(join(project, config.file), config.text)
            yield* run(obtainRuntime(tool), args, project)
            // webpack writes the licenses of what it bundled into a file of their own.
            const files = readdirSync(join(project, "out")).filter((file) => !file.endsWith(".LICENSE.txt"))
            assert.deepEqual(files, [output], "the bundle is one file")

            const elsewhere = mkdtempSync(join(folder, "run-"))
            const file = join(elsewhere, output)
            renameSync(join(project, "out", output), file)
            const server = yield* startEtcd()
            const program = yield* runProgram({ file, runtime: runsOn, cwd: elsewhere, args: [server.endpoint] })
            assert.deepEqual(yield* program.exit, { code: 0, signal: null }, yield* program.stderr)
            // Lines of the log begin with a time.
            const lines = (yield* program.stdout).split("\n").filter((line) => !line.startsWith("["))
            assert.deepEqual(lines, ["/services/orders/a 1", `1 ${server.version} 0`, "closed", ""])
          })
      )
    }
  })
}
