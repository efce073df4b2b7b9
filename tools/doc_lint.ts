/**
 * Runs `deno doc --lint` on the entry points, and filters findings that this package cannot fix.
 *
 * Filtered: types of dependencies, which `deno doc` calls private because this package does not export them;
 * superclasses in a constant (a form that publishing requires); and members of documented types, whose names are clear.
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join, relative } from "node:path"
import process from "node:process"
import { checkDocs } from "./doc_tags.ts"
import { obtainRuntime, root } from "./runtimes.ts"

const config: { readonly exports: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(join(root, "deno.json"), "utf8")
)

/** The types and values that this package's modules declare: name and kind. */
const declared = new Map<string, string>()
for (const file of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
  if (!file.endsWith(".ts")) continue
  const declarations = readFileSync(join(root, "src", file), "utf8")
    .matchAll(/^(?:export )?(?:declare )?(?:abstract )?(interface|type|class|const|function) (\w+)/gm)
  for (const [, how = "", name = ""] of declarations) {
    if (declared.get(name) !== "interface") declared.set(name, how)
  }
}

const docs = checkDocs(Object.values(config.exports))

interface Finding {
  readonly kind: string
  readonly text: string
  readonly file: string
  readonly line: number
  readonly column: number
}

const isOurs = ({ column, file, kind, line, text }: Finding): boolean => {
  if (relative(root, file).startsWith("..") || file.includes("node_modules")) return false
  if (kind === "missing-jsdoc") {
    return column === 1 || /^export /.test(readFileSync(file, "utf8").split("\n")[line - 1] ?? "")
  }
  if (kind !== "private-type-ref") return true
  const name = /references private type '(\w+)/.exec(text)?.[1] ?? ""
  const how = declared.get(name)
  if (how === undefined || how === "const" || how === "function" || docs.publicNames.has(name)) return false
  // `Schema.Codec` is a different `Codec`: only unqualified mentions count.
  const rest = readFileSync(file, "utf8").split("\n").slice(line - 1)
  const end = rest.findIndex((one) => one.trim() === "")
  const statement = rest.slice(0, end < 0 ? undefined : end).join("\n")
  return new RegExp(`(?<![.\\w])${name}\\b`).test(statement) || !new RegExp(`\\.${name}\\b`).test(statement)
}

const { status, stderr, stdout } = spawnSync(
  obtainRuntime("deno"),
  ["doc", "--lint", ...Object.values(config.exports)],
  { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" }, maxBuffer: 64 * 1024 * 1024 }
)
const findings = [...`${stdout}\n${stderr}`.matchAll(/^error\[([\w-]+)\]: (.*)\n\s*--> (.*):(\d+):(\d+)$/gm)]
  .map(([, kind = "", text = "", file = "", line, column]): Finding => ({
    kind,
    text,
    file,
    line: Number(line),
    column: Number(column)
  }))
// Unrecognized output must not pass as "nothing found".
if (status !== 0 && findings.length === 0) {
  console.error(stdout + stderr)
  process.exit(1)
}
const ours = findings.filter(isOurs)
for (const { column, file, kind, line, text } of ours) {
  console.error(`${relative(root, file)}:${line}:${column} ${kind}: ${text}`)
}
docs.problems.forEach((problem) => console.error(problem))
console.log(`doc lint: ${ours.length} problems (${findings.length - ours.length} left out by the rules above)`)
console.log(`doc comments: ${docs.publicNames.size} public names, ${docs.problems.length} problems`)
console.log(`root exports: ${docs.rootExports.length}`)
process.exit(ours.length + docs.problems.length === 0 ? 0 : 1)
