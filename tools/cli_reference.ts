/**
 * Writes `docs/reference/command-line.md` from the commands themselves.
 *
 *     deno run -A tools/cli_reference.ts           writes it
 *     deno run -A tools/cli_reference.ts --check   exits with 1 if it is not current
 *
 * @module
 */
import { Console, Effect, Layer } from "effect"
import { CliOutput, type HelpDoc } from "effect/cli"
import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { run } from "../src/cli/cli.ts"
import { exitCodes } from "../src/cli/failure.ts"
import * as Platform from "../src/cli/platform.ts"
import { obtainRuntime, root } from "./runtimes.ts"

const file = join(root, "docs", "reference", "command-line.md")

/** The help of a command, as `effect/cli` describes it. */
const helpOf = (path: ReadonlyArray<string>): Effect.Effect<HelpDoc.HelpDoc> =>
  Effect.gen(function* () {
    let doc: HelpDoc.HelpDoc | undefined
    const formatter = CliOutput.defaultFormatter({ colors: false })
    const recorder = CliOutput.layer({
      ...formatter,
      formatHelpDoc: (found) => {
        doc = found
        return ""
      }
    })
    const silent: Console.Console = Object.assign(Object.create(console) as typeof console, { log: () => {} })
    yield* run([...path, "--help"]).pipe(
      Effect.provide(Layer.merge(Platform.layer, recorder)),
      Effect.provideService(Console.Console, silent)
    )
    if (doc === undefined) throw new Error(`${path.join(" ")} has no help`)
    return doc
  })

const namesOf = ({ subcommands = [] }: HelpDoc.HelpDoc): ReadonlyArray<string> =>
  subcommands.flatMap(({ commands }) => commands.map(({ name }) => name))

const cell = (text: string): string => text.replaceAll("|", "\\|")

const flagRows = (flags: ReadonlyArray<HelpDoc.FlagDoc>): ReadonlyArray<string> =>
  flags.map(({ aliases, description, name, type }) => {
    const names = [`--${name}`, ...aliases].join("`, `")
    const value = type === "boolean" ? "" : ` ${type}`
    const text = description._tag === "Some" ? description.value : ""
    return `| \`${cell(names + value)}\` | ${cell(text)} |`
  })

const table = (head: string, rows: ReadonlyArray<string>): ReadonlyArray<string> =>
  rows.length === 0 ? [] : [`| ${head} | |`, "| --- | --- |", ...rows, ""]

const section = (path: ReadonlyArray<string>, doc: HelpDoc.HelpDoc): ReadonlyArray<string> => [
  `${"#".repeat(path.length + 1)} \`${path.join(" ")}\``,
  "",
  `${doc.description}.`,
  "",
  "```",
  `etcd-discovery ${doc.usage.replace(/^etcd-discovery /, "")}`,
  "```",
  "",
  ...table(
    "argument",
    (doc.args ?? []).map(({ description, name }) =>
      `| \`${name}\` | ${cell(description._tag === "Some" ? description.value : "")} |`
    )
  ),
  ...table("flag", flagRows(doc.flags)),
  ...(doc.examples === undefined || doc.examples.length === 0 ? [] : [
    "```sh",
    ...doc.examples.flatMap(({ command, description }) => [`# ${description}`, command]),
    "```",
    ""
  ])
]

/** The sections of a command and of the commands below it. */
const sectionsOf = (path: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function* () {
    const doc = yield* helpOf(path)
    const below = yield* Effect.forEach(namesOf(doc), (name) => sectionsOf([...path, name]))
    return [...section(path, doc), ...below.flat()]
  })

const meanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  success: "done; also after SIGTERM",
  failed: "etcd refused, or the operation failed",
  usage: "unknown command or flag, or an invalid value",
  notFound: "the service, the instance or the key does not exist",
  unreachable: "etcd does not answer",
  denied: "etcd rejects the credentials, or does not permit the operation",
  conflict: "another write came first, or the key has another owner",
  findings: "`doctor` found a problem",
  defect: "a bug in `etcd-discovery`",
  lost: "the lock or the leadership was lost, and the command was terminated"
}

const isMeaning = (name: string): name is keyof typeof exitCodes => name in meanings

const document = Effect.gen(function* () {
  const doc = yield* helpOf([])
  const sections = yield* Effect.forEach(namesOf(doc), (name) => sectionsOf([name]))
  return [
    "# Command line",
    "",
    "This page is generated from the commands by `tools/cli_reference.ts`. The guide is [The command line](../cli.md).",
    "",
    "## Flags of every command",
    "",
    ...table("flag", [...flagRows(doc.flags), ...flagRows(doc.globalFlags ?? [])]),
    "## Exit codes",
    "",
    "| code | meaning |",
    "| --- | --- |",
    ...Object.entries(exitCodes).map(([name, code]) => `| ${code} | ${isMeaning(name) ? meanings[name] : ""} |`),
    "| 129, 130 | ended by SIGHUP, by SIGINT (Ctrl-C) |",
    "",
    "`exec`, `lock` and `elect` exit with the code of their command, 128 + n if a signal ended it, 127 if it does not",
    "exist and 126 if it is not executable.",
    "",
    ...sections.flat()
  ].join("\n")
})

const formatted = (text: string): string =>
  execFileSync(obtainRuntime("deno"), ["fmt", "--ext", "md", "-"], { cwd: root, input: text, encoding: "utf8" })

if (import.meta.main) {
  const text = formatted(await Effect.runPromise(document))
  if (!process.argv.includes("--check")) writeFileSync(file, text)
  else if (readFileSync(file, "utf8") !== text) {
    console.error("docs/reference/command-line.md is not current: deno run -A tools/cli_reference.ts")
    process.exit(1)
  }
  console.log("docs/reference/command-line.md is current")
}
