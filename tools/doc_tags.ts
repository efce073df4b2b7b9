/**
 * The rules for the doc comments of everything that an entry point exports.
 *
 * @module
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { obtainRuntime, root } from "./runtimes.ts"

/** The relevant part of the output of `deno doc --json`. */
interface Documented {
  readonly name: string
  readonly declarations: ReadonlyArray<{
    readonly kind: string
    /** `"private"` for a declaration that an exported one refers to. */
    readonly declarationKind: string
    readonly location: { readonly filename: string; readonly line: number }
    readonly jsDoc?: {
      readonly doc?: string
      readonly tags?: ReadonlyArray<{ readonly kind: string }>
    }
  }>
}
interface Documentation {
  readonly nodes: Readonly<Record<string, { readonly symbols: ReadonlyArray<Documented> }>>
}

const maxFirstLine = 100
const maxRootExports = 45

/** The modules that a module exports as namespaces. */
const namespacesOf = (file: string): ReadonlyArray<string> =>
  Array.from(
    readFileSync(join(root, file), "utf8").matchAll(/^export \* as \w+ from "(.+)"$/gm),
    ([, path = ""]) => join(dirname(file), path)
  )

/**
 * The exports of each module, by its URL. `deno doc` omits re-exports of namespaces, so this also reads each namespace.
 */
const readDocumentation = (entries: ReadonlyArray<string>): Documentation["nodes"] => {
  const files = [...entries, ...entries.flatMap(namespacesOf)]
  const { status, stderr, stdout } = spawnSync(obtainRuntime("deno"), ["doc", "--json", ...files], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 256 * 1024 * 1024
  })
  if (status !== 0) throw new Error(`deno doc failed: ${stderr}`)
  const { nodes }: Documentation = JSON.parse(stdout)
  return nodes
}

/** The checked public documentation. */
export interface DocReport {
  readonly problems: ReadonlyArray<string>
  /** The names that the root exports. */
  readonly rootExports: ReadonlyArray<string>
  /** All public names, including members of namespaces. */
  readonly publicNames: ReadonlySet<string>
}

/** Checks that every export has `@since`, `@category` and a short first line, and that the root stays small. */
export const checkDocs = (entries: ReadonlyArray<string>): DocReport => {
  const problems = new Set<string>()
  const publicNames = new Set<string>()
  const visit = ({ declarations, name }: Documented): void => {
    publicNames.add(name)
    const [first] = declarations
    // Of overloads, only the first is checked.
    const checked = first?.kind === "function" ? [first] : declarations
    for (const { declarationKind, jsDoc, kind, location } of checked) {
      // The members of a namespace come from its module.
      if (kind === "namespace" || kind === "reference" || declarationKind !== "export") continue
      if (jsDoc?.tags?.some((tag) => tag.kind === "internal")) continue
      const file = location.filename.startsWith("file:") ? relative(root, fileURLToPath(location.filename)) : ".."
      if (file.startsWith("..") || file.includes("node_modules")) continue
      const problem = (text: string) => problems.add(`${file}:${location.line}: ${name}: ${text}`)
      const tags = new Set(jsDoc?.tags?.map((tag) => tag.kind))
      for (const tag of ["since", "category"]) if (!tags.has(tag)) problem(`@${tag} is missing`)
      const [line = ""] = (jsDoc?.doc ?? "").split("\n")
      if (line === "") problem("the description is missing")
      if (line.length > maxFirstLine) problem(`the first line has ${line.length} characters, more than ${maxFirstLine}`)
    }
  }
  const nodes = readDocumentation(entries)
  for (const { symbols } of Object.values(nodes)) symbols.forEach(visit)
  const rootFile = join(root, "mod.ts")
  const rootExports = Object.entries(nodes).flatMap(([url, { symbols }]) =>
    fileURLToPath(url) === rootFile ? symbols.map(({ name }) => name) : []
  )
  if (rootExports.length > maxRootExports) {
    problems.add(`mod.ts: ${rootExports.length} exports, more than ${maxRootExports}`)
  }
  return { problems: [...problems].sort(), rootExports, publicNames }
}
