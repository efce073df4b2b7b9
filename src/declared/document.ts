/**
 * Parses the text of a declaration, and finds the positions of its members.
 *
 * Values come from the parsers of live configuration, which need no permission under Deno. Positions come from the
 * package `yaml`, which is loaded only to report a problem. It also reads JSON. TOML has no positions.
 *
 * @module
 */
import { Effect, Result } from "effect"
import type { Document as YamlDocument, LineCounter } from "yaml"
import { type Format, parserOf } from "../internal/text/formats.ts"
import { read as readJson } from "../internal/text/json.ts"

/** Keys and indices, from the root down. */
export type Path = ReadonlyArray<string | number>

/** Line and column start at 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** A problem at a path. */
export interface Problem {
  readonly path: Path
  readonly rule: string
}

/** Returns the position of a path, or of its nearest known ancestor. `undefined` if it is unknown. */
export type Locate = (path: Path) => Position | undefined

/** A parsed text. */
export interface Document {
  readonly tree: unknown
  readonly locate: Effect.Effect<Locate>
}

/** The reason why a text does not parse. It quotes nothing from the text, which may contain a secret. */
export interface SyntaxProblem extends Partial<Position> {
  readonly rule: string
}

/** Parses a text. */
export const readDocument = Effect.fnUntraced(function* (
  format: Format,
  text: string
): Effect.fn.Return<Document, SyntaxProblem> {
  const source = text.replace(/^\uFEFF/, "")
  const parsed = (yield* parserOf(format))(source)
  if (Result.isFailure(parsed)) {
    const position = format === "json" ? brokenJson(source) : format === "yaml" ? yield* brokenYaml(source) : undefined
    return yield* Effect.fail({ ...parsed.failure, ...position })
  }
  return {
    tree: parsed.success,
    locate: format === "toml" ? Effect.succeed(() => undefined) : Effect.map(
      positioned(source),
      (document): Locate => (path) => document === undefined ? undefined : document.at(offsetOf(document, path))
    )
  }
})

/** Returns the position where a text stops being JSON. */
const brokenJson = (text: string): Position | undefined => {
  try {
    readJson(text)
    return undefined
  } catch (error) {
    const found = error instanceof Error ? /at position (\d+)$/.exec(error.message)?.[1] : undefined
    if (found === undefined) return undefined
    const before = text.slice(0, Math.min(Number(found), text.trimEnd().length)).split("\n")
    return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 }
  }
}

/** Returns the position where a text stops being YAML. */
const brokenYaml = (text: string): Effect.Effect<Position | undefined> =>
  Effect.map(positioned(text), (document) => {
    const [first] = (document?.yaml.errors ?? []).map(({ pos: [offset] }) => offset).sort((one, other) => one - other)
    return first === undefined ? undefined : document?.at(first)
  })

/** A document of the package `yaml`. */
interface Positioned {
  readonly is: Pick<typeof import("yaml"), "isMap" | "isNode" | "isScalar" | "isSeq">
  readonly yaml: YamlDocument
  readonly at: (offset: number) => Position
}

/** Parses for positions. Under Deno the package reads two variables; without that permission there are no positions. */
const positioned = (text: string): Effect.Effect<Positioned | undefined> =>
  Effect.tryPromise(() => import("yaml")).pipe(
    Effect.map(({ isMap, isNode, isScalar, isSeq, LineCounter, parseDocument }): Positioned => {
      const lines: LineCounter = new LineCounter()
      // The package needs quadratic time to find duplicate keys. The other parser has already found them.
      const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false })
      return {
        is: { isMap, isNode, isScalar, isSeq },
        yaml,
        at: (offset) => {
          const { col, line } = lines.linePos(offset)
          return { line: Math.max(1, line), column: Math.max(1, col) }
        }
      }
    }),
    Effect.catchCause(() => Effect.succeed(undefined))
  )

/** Returns where the key of a member, or an item, starts. Does not follow aliases and merge keys. */
const offsetOf = ({ is, yaml }: Positioned, path: Path): number => {
  let offset = 0
  let node: unknown = yaml.contents
  for (const part of path) {
    if (is.isMap(node)) {
      const pair = node.items.find(({ key }) => String(is.isScalar(key) ? key.value : key) === String(part))
      if (pair === undefined) return offset
      offset = (is.isNode(pair.key) ? pair.key.range?.[0] : undefined) ?? offset
      node = pair.value
    } else if (is.isSeq(node)) {
      const item = node.items[Number(part)]
      if (!is.isNode(item)) return offset
      offset = item.range?.[0] ?? offset
      node = item
    } else {
      return offset
    }
  }
  return offset
}
