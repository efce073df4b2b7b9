/**
 * The import rules: which part of the source may use which other, and which packages.
 *
 *     deno run -A tools/check_imports.ts
 *
 * Prints each import that breaks a rule and exits with 1. The two tables below are the rules.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join, posix, sep } from "node:path"
import process from "node:process"
import { root } from "./runtimes.ts"

interface Room {
  readonly files: RegExp
  /** The other rooms it may import from, besides its own. */
  readonly uses: ReadonlyArray<string> | "all"
}

/** Every file belongs to the first room that matches. What is imported stands further down, never the other way round. */
const rooms: Readonly<Record<string, Room>> = {
  mod: { files: /^mod\.ts$/, uses: "all" },
  testing: { files: /^src\/testing\//, uses: "all" },
  main: { files: /^src\/(?:main|runMain)\.ts$/i, uses: ["internal"] },
  registry: {
    files: /^src\/(?:Registry\.ts$|registry\/)/,
    uses: [
      "registration",
      "discovery",
      "session",
      "transport",
      "engine",
      "etcd",
      "failure",
      "policy",
      "model",
      "internal"
    ]
  },
  registration: {
    files: /^src\/(?:Registration\.ts$|registration\/)/,
    uses: ["session", "following", "etcd", "failure", "policy", "model", "internal"]
  },
  discovery: {
    files: /^src\/(?:Discovery\.ts$|discovery\/)/,
    uses: ["session", "following", "etcd", "failure", "policy", "model", "internal"]
  },
  kv: { files: /^src\/kv\//, uses: ["session", "following", "etcd", "failure", "policy", "internal"] },
  session: { files: /^src\/Session\.ts$/, uses: ["following", "etcd", "failure", "policy", "model", "internal"] },
  following: { files: /^src\/etcd\/follow\.ts$/, uses: ["etcd", "failure", "policy", "internal"] },
  transport: {
    files: /^src\/etcd\/(?:EtcdGrpc\.ts$|grpc\/)/,
    uses: ["etcd", "failure", "policy", "model", "internal"]
  },
  engine: {
    files: /^src\/etcd\/(?:EtcdMemory\.ts$|memory\/)/,
    uses: ["etcd", "failure", "policy", "model", "internal"]
  },
  etcd: { files: /^src\/etcd\/Etcd\.ts$/, uses: ["failure", "model", "internal"] },
  policy: { files: /^src\/policy\//, uses: ["model", "internal"] },
  model: { files: /^src\/model\//, uses: ["failure", "internal"] },
  // Pure data, like the model: a stale set says which failure made it so.
  failure: { files: /^src\/etcd\/EtcdError\.ts$/, uses: ["internal"] },
  // Helpers that know nothing of this package.
  internal: { files: /^src\/internal\//, uses: [] }
}

interface Package {
  readonly name: RegExp
  readonly rooms: ReadonlyArray<string> | "all"
  /** Only `import type` and `import(…)`: whoever does not call it never loads it. */
  readonly lazily?: boolean
}

/** What is not in this table may not be imported at all. */
const packages: ReadonlyArray<Package> = [
  { name: /^effect(?:\/|$)/, rooms: "all" },
  { name: /^(?:etcd3|@grpc\/[^/]+)(?:\/|$)/, rooms: ["transport"], lazily: true },
  { name: /^node:/, rooms: ["transport", "main"] }
]

interface Import {
  readonly from: string
  readonly line: number
  readonly kind: "value" | "type" | "dynamic"
}

/** The imports of a module. Comments are blanked first: examples in them are no imports. */
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

const roomOf = (file: string): string | undefined => Object.keys(rooms).find((name) => rooms[name]?.files.test(file))

/** What is wrong with a set of modules (path from the project's folder, text); empty when nothing is. */
export const check = (modules: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const graph = new Map<string, ReadonlyArray<string>>()
  for (const [file, source] of modules) {
    const room = roomOf(file)
    if (room === undefined) {
      problems.push(`${file}: belongs to no room; add it to the table in tools/check_imports.ts`)
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
          const other = roomOf(target)
          targets.push(target)
          const uses = rooms[room]?.uses ?? []
          if (other !== undefined && other !== room && uses !== "all" && !uses.includes(other)) {
            problem(`${room} may not use ${other} (only ${uses.join(", ") || "itself"})`)
          }
        }
        continue
      }
      const known = packages.find(({ name }) => name.test(from))
      if (known === undefined) problem("no dependency of this package")
      else if (known.rooms !== "all" && !known.rooms.includes(room)) {
        problem(`only ${known.rooms.join(", ")} may import it, not ${room}`)
      } else if (known.lazily === true && kind === "value") {
        problem("only `import type` or a dynamic import: it is loaded lazily")
      }
    }
    graph.set(file, targets)
  }
  return [...problems, ...cycles(graph)]
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
