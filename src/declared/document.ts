/**
 * The text of a declaration as a tree, with the positions of its members.
 *
 * YAML and JSON have positions from the package `yaml`, which is loaded on first use. TOML has none.
 *
 * @module
 */
import { Effect, Result } from "effect"
import type { Document as YamlDocument, LineCounter } from "yaml"
import { type Format, parserOf } from "../internal/text/formats.ts"
import { parseJson, read as readJson } from "../internal/text/json.ts"

/** Keys and indices from the root. */
export type Path = ReadonlyArray<string | number>

/** Line and column start at 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** Something that is wrong at a path. */
export interface Problem {
  readonly path: Path
  readonly rule: string
}

/** A text that parsed. */
export interface Document {
  readonly tree: unknown
  /** The position of a path, or of the nearest one above it. `undefined` if the format has no positions. */
  readonly locate: (path: Path) => Position | undefined
}

/** Why a text does not parse, without quotes from the text, which may contain a secret. */
export interface SyntaxProblem extends Partial<Position> {
  readonly rule: string
}

/** The largest text that is read. */
const maxCharacters = 4 * 1024 * 1024

/** Parses a text. */
export const readDocument = (format: Format, text: string): Effect.Effect<Result.Result<Document, SyntaxProblem>> => {
  const source = text.replace(/^\uFEFF/, "")
  if (source.length > maxCharacters) {
    return Effect.succeed(Result.fail({ rule: `it must have at most ${maxCharacters} characters` }))
  }
  if (format === "toml") {
    return Effect.map(
      parserOf("toml"),
      (parse) => Result.map(parse(source), (tree) => ({ tree, locate: () => undefined }))
    )
  }
  return Effect.map(Effect.promise(() => import("yaml")), (yaml) => {
    const lines = new yaml.LineCounter()
    const parsed = yaml.parseDocument(source, {
      lineCounter: lines,
      merge: true,
      prettyErrors: false,
      logLevel: "error",
      // Quadratic in `yaml`. `firstProblem` finds duplicates in linear time.
      uniqueKeys: false
    })
    const locate = (path: Path) => positionAt(lines, offsetOf(yaml, parsed, path))
    if (format === "json") return Result.map(readStrictJson(source, lines), (tree) => ({ tree, locate }))
    try {
      const problem = firstProblem(yaml, parsed)
      return problem === undefined ?
        Result.succeed({ tree: parsed.toJS({ maxAliasCount: 100 }) as unknown, locate }) :
        Result.fail({ rule: `it is not YAML: ${problem.rule}`, ...positionAt(lines, problem.offset) })
    } catch (error) {
      const rule = error instanceof RangeError ?
        "it is nested too deeply" :
        error instanceof ReferenceError ?
        "its aliases expand to too much" :
        "a merge key needs a map"
      return Result.fail({ rule: `it is not YAML: ${rule}` })
    }
  })
}

type Yaml = typeof import("yaml")

const positionAt = (lines: LineCounter, offset: number): Position => {
  const { col, line } = lines.linePos(offset)
  return { line: Math.max(1, line), column: Math.max(1, col) }
}

const readStrictJson = (text: string, lines: LineCounter): Result.Result<unknown, SyntaxProblem> => {
  try {
    return Result.succeed(parseJson(text))
  } catch {
    try {
      return Result.succeed(readJson(text))
    } catch (error) {
      const offset = error instanceof Error ? /at position (\d+)$/.exec(error.message)?.[1] : undefined
      const position = offset === undefined ? {} : positionAt(lines, Math.min(Number(offset), text.trimEnd().length))
      return Result.fail({ rule: "it is not JSON", ...position })
    }
  }
}

/** Where the key of a member or an item starts. What an alias or a merge refers to is not followed. */
const offsetOf = (yaml: Yaml, document: YamlDocument, path: Path): number => {
  let offset = 0
  let node: unknown = document.contents
  for (const part of path) {
    if (yaml.isMap(node)) {
      const pair = node.items.find(({ key }) => String(yaml.isScalar(key) ? key.value : key) === String(part))
      if (pair === undefined) return offset
      offset = (yaml.isNode(pair.key) ? pair.key.range?.[0] : undefined) ?? offset
      node = pair.value
    } else if (yaml.isSeq(node)) {
      const item = node.items[Number(part)]
      if (!yaml.isNode(item)) return offset
      offset = item.range?.[0] ?? offset
      node = item
    } else {
      return offset
    }
  }
  return offset
}

/** The rules of errors whose own messages quote the text, or depend on the runtime. */
const rules: Readonly<Record<string, string>> = {
  BAD_DQ_ESCAPE: "Invalid escape sequence",
  MULTIPLE_DOCS: "Only one document is read",
  RESOURCE_EXHAUSTION: "it is nested too deeply"
}

/** The first error. Messages of `yaml` quote the text after a colon. */
const firstProblem = (
  yaml: Yaml,
  document: YamlDocument
): { readonly rule: string; readonly offset: number } | undefined => {
  const [error] = [...document.errors, ...document.warnings].sort((one, other) => one.pos[0] - other.pos[0])
  if (error !== undefined) {
    const rule = rules[error.code] ?? error.message.replace(/: .*$/s, "")
    return { rule, offset: error.pos[0] }
  }
  const anchors = new Set<string>()
  let found: { readonly rule: string; readonly offset: number } | undefined
  const stop = (rule: string, offset: number | undefined) => {
    found = { rule, offset: offset ?? 0 }
    return yaml.visit.BREAK
  }
  yaml.visit(document, {
    Node: (_, node) => {
      if (yaml.isAlias(node)) {
        return anchors.has(node.source) ? undefined : stop("Alias without an anchor before it", node.range?.[0])
      }
      if (node.anchor !== undefined) anchors.add(node.anchor)
      if (!yaml.isMap(node)) return undefined
      const names = new Set<unknown>()
      for (const { key } of node.items) {
        if (!yaml.isScalar(key)) return stop("Key that is not a scalar", yaml.isNode(key) ? key.range?.[0] : undefined)
        const name = String(key.value)
        if (names.has(name)) return stop("Duplicate key", key.range?.[0])
        names.add(name)
      }
      return undefined
    }
  })
  return found
}
