/**
 * The import rules: which folders of the source a folder may import, and which packages.
 *
 *     deno run -A tools/check_imports.ts
 *
 * Prints each import that breaks a rule, each import cycle and each file beside a folder of its own name, and exits with
 * 1 if there is any. The two tables below are the rules.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join, posix, sep } from "node:path"
import process from "node:process"
import { root } from "./runtimes.ts"

/**
 * The storeys, from the top down. A folder imports only from storeys below its own. Each name is a folder of `src/`;
 * `mod` is `mod.ts`.
 */
const storeys: ReadonlyArray<ReadonlyArray<string>> = [
  ["mod"],
  ["cli"],
  ["console"],
  ["promise"],
  ["declared", "http", "rpc", "grpc", "monitoring"],
  ["balancing", "interop", "config", "cluster", "persistence", "admin"],
  ["registry", "kv", "coordination", "testing"],
  ["etcd"],
  // Helpers that do not depend on anything in this package.
  ["internal"]
]

interface Package {
  readonly name: RegExp
  /** The folders that may import it. */
  readonly folders: RegExp
  /** Allows only `import type` and `import(…)`, so that a program that does not use it never loads it. */
  readonly lazily?: boolean
}

/** Packages outside this table may not be imported. */
const packages: ReadonlyArray<Package> = [
  { name: /^effect(?:\/|$)/, folders: /^/ },
  { name: /^@grpc\/grpc-js$/, folders: /^src\/(?:etcd\/)?grpc\//, lazily: true },
  { name: /^etcd3(?:\/|$)/, folders: /^src\/admin\//, lazily: true },
  { name: /^@bufbuild\/protobuf\/wire$/, folders: /^src\/etcd\/grpc\// },
  { name: /^yaml$/, folders: /^src\/declared\//, lazily: true },
  { name: /^node:async_hooks$/, folders: /^src\/internal\/lasting\.ts$/ },
  { name: /^node:/, folders: /^src\/(?:etcd\/grpc|registry|admin|declared|promise|monitoring|cli|console)\// }
]

interface Import {
  readonly from: string
  readonly line: number
  readonly kind: "value" | "type" | "dynamic"
}

/** The imports of a module. Comments are blanked first, because they contain examples. */
const importsOf = (source: string): ReadonlyArray<Import> => {
  const blank = (text: string) => text.replace(/[^\n]/g, " ")
  const code = source.replace(/^[ \t]*\/\*[\s\S]*?\*\//gm, blank).replace(/(?:^|[ \t])\/\/.*$/gm, blank)
  const lineAt = (index: number) => code.slice(0, index).split("\n").length
  const found: Array<Import> = []
  for (const match of code.matchAll(/^(?:import|export)\b(?!\s*\()([^"'`;=]*?)\bfrom\s*["']([^"']+)["']/gm)) {
    const kind = /^\s+type\b(?!\s*(?:,|from\b))/.test(match[1] ?? "") ? "type" : "value"
    found.push({ from: match[2] ?? "", line: lineAt(match.index), kind })
  }
  for (const match of code.matchAll(/^import\s*["']([^"']+)["']/gm)) {
    found.push({ from: match[1] ?? "", line: lineAt(match.index), kind: "value" })
  }
  for (const match of code.matchAll(/\bimport\s*\(\s*["']([^"']+)["']/g)) {
    found.push({ from: match[1] ?? "", line: lineAt(match.index), kind: "dynamic" })
  }
  return found
}

/** The folder of `src/` that a file is in; `mod` for `mod.ts`. */
const folderOf = (file: string): string | undefined => file === "mod.ts" ? "mod" : /^src\/([^/]+)\//.exec(file)?.[1]

/** The number of a folder's storey, counted from the top. -1 if it has none. */
const storeyOf = (folder: string | undefined): number =>
  storeys.findIndex((folders) => folder !== undefined && folders.includes(folder))

/** The broken rules of a set of modules (path from the project's folder, text). */
export const check = (modules: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const graph = new Map<string, ReadonlyArray<string>>()
  for (const [file, source] of modules) {
    const folder = folderOf(file)
    const storey = storeyOf(folder)
    if (storey < 0) {
      problems.push(`${file}: no storey has this folder; add it to the table in tools/check_imports.ts`)
      continue
    }
    const targets: Array<string> = []
    for (const { from, kind, line } of importsOf(source)) {
      const problem = (text: string) => problems.push(`${file}:${line}: "${from}": ${text}`)
      if (from.startsWith(".")) {
        const target = posix.normalize(posix.join(posix.dirname(file), from))
        if (!from.endsWith(".ts")) problem("a relative import ends in .ts")
        else if (!modules.has(target)) problem(`there is no ${target}`)
        else {
          targets.push(target)
          const other = folderOf(target)
          if (other !== folder && storeyOf(other) <= storey) problem(`${folder} may not import from ${other}`)
        }
        continue
      }
      const known = packages.find(({ name }) => name.test(from))
      if (known === undefined) problem("no dependency of this package")
      else if (!known.folders.test(file)) {
        problem(`${folder} may not import it`)
      } else if (known.lazily === true && kind === "value") {
        problem("only `import type` or a dynamic import: it is loaded lazily")
      }
    }
    graph.set(file, targets)
  }
  return [...problems, ...cycles(graph), ...twins(modules)]
}

const cycles = (graph: ReadonlyMap<string, ReadonlyArray<string>>): ReadonlyArray<string> => {
  const found: Array<string> = []
  const done = new Set<string>()
  const visit = (file: string, path: ReadonlyArray<string>): void => {
    const start = path.indexOf(file)
    if (start >= 0) return void found.push(`import cycle: ${[...path.slice(start), file].join(" -> ")}`)
    if (done.has(file)) return
    for (const target of graph.get(file) ?? []) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return found
}

/** Finds files beside a folder of their own name: the module of a concept belongs in its folder. */
const twins = (modules: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const folders = new Set(Array.from(modules.keys(), (file) => posix.dirname(file).toLowerCase()))
  return Array.from(modules.keys())
    .filter((file) => folders.has(file.slice(0, -".ts".length).toLowerCase()))
    .map((file) => `${file}: stands beside a folder of its own name; move it into the folder`)
}

if (import.meta.main) {
  const files = [
    ...(existsSync(join(root, "mod.ts")) ? ["mod.ts"] : []),
    ...readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts")).map((file) => join("src", file).split(sep).join("/")).sort()
  ]
  const problems = check(new Map(files.map((file) => [file, readFileSync(join(root, file), "utf8")])))
  problems.forEach((problem) => console.error(problem))
  console.log(`import rules: ${files.length} files, ${problems.length} problems`)
  process.exit(problems.length === 0 ? 0 : 1)
}
