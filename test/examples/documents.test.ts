import { Effect } from "effect"
import assert from "node:assert/strict"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import process from "node:process"
import { describe, test } from "node:test"
import { pathToFileURL } from "node:url"
import { examplesOf } from "../../tools/document_examples.ts"
import { root } from "../../tools/runtimes.ts"
import { eachSharedEtcd, etcdctl } from "../harness/EtcdServer.ts"
import * as it from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { eventually } from "../harness/real.ts"

/** The documents of the project, by their path from the root. */
const documents: ReadonlyMap<string, string> = new Map(
  [
    ...[
      "README.md",
      "ARCHITECTURE.md",
      "CHANGELOG.md",
      "CONTRIBUTING.md",
      "SECURITY.md",
      "bench/README.md",
      "examples/README.md",
      "examples/demo/README.md",
      "examples/fleet/README.md"
    ],
    ...["test/faults/README.md"],
    ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".md"))
      .map((file) => join("docs", file))
  ].map((file) => [file, readFileSync(join(root, file), "utf8")])
)

const textOf = (file: string): string => {
  const text = documents.get(file)
  assert.ok(text !== undefined, file)
  return text
}

const withoutCode = (text: string): string => text.replace(/^```[^]*?^```/gm, "")

/** The anchors that GitHub gives to the headings of a document. */
const anchorsOf = (text: string): ReadonlySet<string> =>
  new Set(
    [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
      heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
    )
  )

const { exports: entries }: { readonly exports: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(join(root, "deno.json"), "utf8")
)

/** The source of an entry point, such as `/http`. */
const sourceOf = (entry: string): string => pathToFileURL(join(root, entries[`.${entry}`] ?? "")).href

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const isErrorClass = (value: unknown): boolean => typeof value === "function" && value.prototype instanceof Error

/** The names of the classes of errors in a module, also in the namespaces that it exports. */
const errorsOf = (module: object): ReadonlyArray<string> =>
  Object.entries(module).flatMap(([name, value]) =>
    isErrorClass(value) ?
      [name] :
      isObject(value) ?
      Object.keys(value).filter((member) => isErrorClass(Reflect.get(value, member))).map((member) =>
        `${name}.${member}`
      ) :
      []
  )

/** The examples that `deno test --doc` does not run: programs that need an etcd, and run until a signal. */
const ignored = [...documents].flatMap(([file, text]) =>
  examplesOf(text).filter(({ tag }) => tag === "ts ignore").map(({ code, line }) => ({ file, code, line }))
)

describe("documents", () => {
  test("links of documents lead to files and headings that exist", () => {
    const broken = [...documents].flatMap(([file, text]) =>
      [...withoutCode(text).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].flatMap(([link, path, anchor]) => {
        const target = path ? join(dirname(file), path) : file
        if (!existsSync(join(root, target))) return [`${file}: ${link}`]
        if (anchor === undefined || statSync(join(root, target)).isDirectory()) return []
        return anchorsOf(readFileSync(join(root, target), "utf8")).has(anchor) ? [] : [`${file}: ${link}`]
      })
    )
    assert.deepEqual(broken, [])
  })

  test("paths in documents exist", () => {
    const missing = [...documents].filter(([file]) => file !== "CHANGELOG.md" && !file.startsWith("docs/adr/")).flatMap(
      ([file, text]) =>
        [...withoutCode(text).matchAll(/`((?:src|test|tools|examples|bench|docs)\/[\w./-]+)`/g)].flatMap((
          [, path = ""]
        ) => existsSync(join(root, path)) ? [] : [`${file}: ${path}`])
    )
    assert.deepEqual(missing, [])
  })

  test("README has at most 200 lines, ARCHITECTURE at most 180", () => {
    assert.ok(textOf("README.md").trimEnd().split("\n").length <= 200)
    assert.ok(textOf("ARCHITECTURE.md").trimEnd().split("\n").length <= 180)
  })

  test("every decision is in the index of docs/adr", () => {
    const index = textOf(join("docs", "adr", "README.md"))
    const absent = readdirSync(join(root, "docs", "adr")).filter((file) =>
      file !== "README.md" && !index.includes(`(${file})`)
    )
    assert.deepEqual(absent, [])
  })

  test("every decision of docs/adr begins with its number and title, then its date and state", () => {
    const malformed = readdirSync(join(root, "docs", "adr")).filter((file) => {
      const form = new RegExp(`^# ${file.slice(0, 4)}\\. .+\n\n\\d{4}-\\d\\d-\\d\\d, (?:accepted|superseded)\\b`)
      return /^\d/.test(file) && !form.test(textOf(join("docs", "adr", file)))
    })
    assert.deepEqual(malformed, [])
  })

  test("docs/reference/errors.md names every error that an entry point exports", async () => {
    const named = new Set(
      [...textOf(join("docs", "reference", "errors.md")).matchAll(/`([\w.]+)`/g)].map(([, name]) => name)
    )
    const absent: Array<string> = []
    for (const entry of Object.keys(entries)) {
      // A program, which runs when it is imported.
      if (entry === "./cli") continue
      for (const name of errorsOf(await import(sourceOf(entry.slice(1))))) {
        if (!named.has(name) && !named.has(name.replace(/^(\w+)\.\1$/, "$1"))) absent.push(`${entry} ${name}`)
      }
    }
    assert.deepEqual(absent, [])
  })

  test("README contains a program with etcd", () => {
    assert.ok(ignored.some(({ file }) => file === "README.md"))
  })

  eachSharedEtcd((etcd) => {
    for (const { code, file, line } of ignored) {
      it.live(`the example with etcd in ${file}:${line} registers, and leaves no key after SIGTERM`, () =>
        Effect.gen(function* () {
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => {
              const path = join(root, "test", "examples", `.document-${process.pid}-${line}`)
              mkdirSync(path)
              return path
            }),
            (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
          )
          const write = (name: string, text: string): string => {
            const path = join(folder, name)
            writeFileSync(
              path,
              text
                .replace(/"@effect-etcd\/discovery(.*)"/g, (_, entry) => JSON.stringify(sourceOf(entry)))
                .replace(`"@effect/platform-node"`, `"./platform.ts"`)
                .replace("http://127.0.0.1:2379", etcd().endpoint)
                .replace(/\b(listen\(|port: )8080\b/, "$10")
                .replace(/drain: "\d seconds?"/, `drain: "100 millis"`)
            )
            return path
          }
          // The package is no dependency of this one. Its server is replaced by that of the tests.
          write(
            "platform.ts",
            `import { Layer } from "effect"\n` +
              `import { HttpServer } from "effect/http"\n` +
              `import { layerServer } from "../../http/nodeServer.ts"\n` +
              `const layer = () => Layer.merge(layerServer("127.0.0.1"), HttpServer.layerServices)\n` +
              `export const NodeHttpServer = { layer }\n`
          )
          const program = yield* runProgram({ file: write("main.ts", code) })

          const keys = etcdctl(etcd(), "get", "--prefix", "/services/", "--keys-only")
          yield* eventually(
            Effect.flatMap(keys, (text) => text.includes("/services/orders/") ? Effect.void : Effect.fail(text))
          )
          yield* program.signal("SIGTERM")
          assert.deepEqual(yield* program.exit, { code: 0, signal: null })
          // ./promise logs to stderr.
          const problems = (yield* program.stderr).split("\n").filter((line) =>
            line !== "" && !/ INFO \(#\d+\)/.test(line)
          )
          assert.deepEqual([problems, yield* keys], [[], ""])
        }))
    }
  })
})
