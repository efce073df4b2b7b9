/**
 * Where in a text its members and items stand, for messages about them.
 *
 * The parsers tell values without their places, so the text is walked once more, only for its structure, and only when
 * there is something to report. What is not found (behind an alias, say) is reported at what it belongs to.
 *
 * @module
 */
import type { Format } from "../internal/text/formats.ts"

/** Keys and indices from the root. */
export type Path = ReadonlyArray<string | number>

/** From 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** The place of a path, or of the nearest that it belongs to. */
export type Locate = (path: Path) => Position

/** Finds places in a text that parses. */
export const locator = (format: Format, text: string): Locate => {
  const source = text.replaceAll("\r\n", "\n")
  const places = new Places()
  if (format === "json") new Flow(source, places).value(skipBlank(source, 0), [])
  if (format === "toml") walkToml(source, places)
  if (format === "yaml") walkYaml(source, places)
  return (path) => positionOf(source, places.nearest(path))
}

/** Where a text stops being JSON. */
export const brokenJson = (text: string): Position => {
  const flow = new Flow(text, new Places(), true)
  try {
    const end = skipBlank(text, flow.value(skipBlank(text, 0), []))
    return positionOf(text, Math.min(end, text.trimEnd().length))
  } catch (offset) {
    return positionOf(text, typeof offset === "number" ? offset : 0)
  }
}

const positionOf = (text: string, offset: number): Position => {
  const before = text.slice(0, offset)
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") }
}

class Places {
  readonly #offsets = new Map<string, number>()

  set(path: Path, offset: number): void {
    this.#offsets.set(JSON.stringify(path), offset)
  }
  has(path: Path): boolean {
    return this.#offsets.has(JSON.stringify(path))
  }
  nearest(path: Path): number {
    for (let length = path.length; length > 0; length--) {
      const offset = this.#offsets.get(JSON.stringify(path.slice(0, length)))
      if (offset !== undefined) return offset
    }
    return 0
  }
}

/** Behind blanks, line breaks and comments. */
const skipBlank = (text: string, from: number): number => {
  let at = from
  while (at < text.length) {
    if (/\s/.test(text.charAt(at))) at++
    else if (text[at] === "#") at = lineEnd(text, at)
    else break
  }
  return at
}

const lineEnd = (text: string, from: number): number => {
  const end = text.indexOf("\n", from)
  return end < 0 ? text.length : end
}

/** Behind a quoted text; `'` has no escapes, but in YAML a doubled one, which reads as two texts in a row. */
const quotedEnd = (text: string, from: number): number => {
  const quote = text.charAt(from)
  const long = quote.repeat(3)
  const isLong = text.startsWith(long, from)
  let at = from + (isLong ? 3 : 1)
  while (at < text.length) {
    if (quote === '"' && text[at] === "\\") at += 2
    else if (isLong ? text.startsWith(long, at) : text[at] === quote) return at + (isLong ? 3 : 1)
    else at++
  }
  return text.length
}

/** The key that stands quoted or bare between two places. */
const keyOf = (text: string): string => {
  const key = text.trim()
  if (key.startsWith('"')) {
    try {
      return String(JSON.parse(key))
    } catch {
      return key.slice(1, -1)
    }
  }
  return key.startsWith("'") ? key.slice(1, -1).replaceAll("''", "'") : key
}

const jsonScalar = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/

/** Lists and records in brackets, as JSON, YAML and TOML have them. `isJson` throws the offset at which it is none. */
class Flow {
  readonly #text: string
  readonly #places: Places
  readonly #isJson: boolean

  constructor(text: string, places: Places, isJson = false) {
    this.#text = text
    this.#places = places
    this.#isJson = isJson
  }

  /** Walks the value at `from`; where it ends. */
  value(from: number, path: Path): number {
    const character = this.#text[from]
    if (character === "[") return this.#members(from + 1, "]", (at, index) => this.#item(at, [...path, index]))
    if (character === "{") return this.#members(from + 1, "}", (at) => this.#member(at, path))
    if (character === '"' || (character === "'" && !this.#isJson)) return quotedEnd(this.#text, from)
    const [bare = ""] = /^[^,\]}\n]*/.exec(this.#text.slice(from)) ?? []
    return this.#isJson && !jsonScalar.test(bare.trim()) ? this.#stop(from) : from + bare.length
  }

  #members(from: number, close: string, walk: (at: number, index: number) => number): number {
    let at = skipBlank(this.#text, from)
    for (let index = 0; at < this.#text.length && this.#text[at] !== close; index++) {
      at = skipBlank(this.#text, walk(at, index))
      if (this.#text[at] === ",") {
        at = skipBlank(this.#text, at + 1)
        if (this.#text[at] === close && this.#isJson) return this.#stop(at)
      } else if (this.#text[at] !== close) {
        return this.#stop(at)
      }
    }
    return at < this.#text.length ? at + 1 : this.#stop(at)
  }

  /** What is here does not belong here. */
  #stop(at: number): number {
    if (this.#isJson) throw at
    return at
  }

  #item(at: number, path: Path): number {
    this.#places.set(path, at)
    return this.value(at, path)
  }

  #member(at: number, path: Path): number {
    const isQuoted = /["']/.test(this.#text.charAt(at))
    if (this.#isJson && !isQuoted) return this.#stop(at)
    let end = isQuoted ? quotedEnd(this.#text, at) : at
    while (end < this.#text.length && !/[:=]/.test(this.#text.charAt(end))) {
      if (this.#isJson && !/\s/.test(this.#text.charAt(end))) return this.#stop(end)
      end++
    }
    const keys = isQuoted || this.#text[end] === ":" ?
      [keyOf(this.#text.slice(at, end))] :
      keysOf(this.#text.slice(at, end))
    const inner = recordKeys(this.#places, path, keys, at)
    return this.value(skipBlank(this.#text, end + 1), inner)
  }
}

/** The keys of a dotted key of TOML. */
const keysOf = (text: string): ReadonlyArray<string> =>
  (text.match(/"(?:[^"\\]|\\.)*"|'[^']*'|[^.\s]+/g) ?? []).map(keyOf)

/** Records what a dotted key opens on the way to its last part. */
const recordKeys = (places: Places, path: Path, keys: ReadonlyArray<string>, at: number): Path => {
  let inner = path
  for (const key of keys) {
    inner = [...inner, key]
    places.set(inner, at)
  }
  return inner
}

const walkToml = (text: string, places: Places): void => {
  const flow = new Flow(text, places)
  /** The number of tables in each array of tables. */
  const sizes = new Map<string, number>()
  const resolve = (keys: ReadonlyArray<string>, isItem: boolean, at: number): Path => {
    let path: Path = []
    keys.forEach((key, position) => {
      path = [...path, key]
      const known = sizes.get(JSON.stringify(path))
      const size = isItem && position === keys.length - 1 ? (known ?? 0) + 1 : known
      if (!places.has(path)) places.set(path, at)
      if (size === undefined) return
      sizes.set(JSON.stringify(path), size)
      path = [...path, size - 1]
      if (size !== known) places.set(path, at)
    })
    return path
  }
  let table: Path = []
  for (let at = skipBlank(text, 0); at < text.length; at = skipBlank(text, at)) {
    if (text[at] === "[") {
      const isItem = text[at + 1] === "["
      const end = lineEnd(text, at)
      const header = /^\[\[?((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\]"'])*)\]/.exec(text.slice(at, end))?.[1] ?? ""
      table = resolve(keysOf(header), isItem, at)
      at = end
      continue
    }
    const equals = /^(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^="'])*/.exec(text.slice(at))?.[0].length ?? 0
    const path = recordKeys(places, table, keysOf(text.slice(at, at + equals)), at)
    const value = at + equals + 1 + (/^[ \t]*/.exec(text.slice(at + equals + 1))?.[0].length ?? 0)
    // The rest of the line is a comment, if anything.
    at = lineEnd(text, Math.max(value, flow.value(value, path)))
  }
}

interface Block {
  readonly kind: "record" | "list"
  readonly indent: number
  readonly path: Path
  /** The member or item that was last seen. */
  last: Path
  size: number
}

const walkYaml = (text: string, places: Places): void => {
  const flow = new Flow(text, places)
  const blocks: Array<Block> = []
  /** What a line at this indentation belongs to; opened if it is not there yet. */
  const block = (kind: Block["kind"], indent: number): Block => {
    let top = blocks.at(-1)
    // A list may stand at the indentation of the key it belongs to.
    while (
      top !== undefined && (top.indent > indent || (top.indent === indent && top.kind === "list" && kind === "record"))
    ) {
      blocks.pop()
      top = blocks.at(-1)
    }
    if (top?.kind === kind && top.indent === indent) return top
    const opened: Block = { kind, indent, path: top?.last ?? [], last: top?.last ?? [], size: 0 }
    blocks.push(opened)
    return opened
  }
  /** Walks what stands on the line after a key or a dash; the offset up to which lines have been read. */
  const walkValue = (from: number, indent: number, path: Path): number => {
    const anchor = /^&[^\s,[\]{}]+[ \t]*/.exec(text.slice(from))?.[0].length ?? 0
    const at = from + anchor
    if (/[[{"']/.test(text.charAt(at))) return flow.value(at, path)
    if (!/^[|>][0-9+-]*[ \t]*(?:#.*)?$/.test(text.slice(at, lineEnd(text, at)))) return at
    let end = lineEnd(text, at)
    while (end < text.length) {
      const line = text.slice(end + 1, lineEnd(text, end + 1))
      if (line.trim() !== "" && line.search(/\S/) <= indent) break
      end = lineEnd(text, end + 1)
    }
    return end
  }

  for (let start = 0, end; start < text.length; start = end + 1) {
    end = lineEnd(text, start)
    let at = start + (/^ */.exec(text.slice(start, end))?.[0].length ?? 0)
    if (at === end || text[at] === "#" || /^(?:---|\.\.\.|%)/.test(text.slice(at, end))) continue
    while (/^-(?:[ \t]|$)/.test(text.slice(at, end))) {
      const list = block("list", at - start)
      list.last = [...list.path, list.size++]
      const content = at + 1 + (/^[ \t]*/.exec(text.slice(at + 1, end))?.[0].length ?? 0)
      places.set(list.last, content < end ? content : at)
      at = content
    }
    const key =
      /^(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'[\]{}#&*!|>%@`-](?:[^:#]|:(?=\S)|(?<!\s)#)*|-\S(?:[^:#]|:(?=\S))*)[ \t]*:(?=\s|$)/
        .exec(text.slice(at, end))?.[0]
    let value = at
    if (key !== undefined) {
      const record = block("record", at - start)
      record.last = [...record.path, keyOf(key.slice(0, key.lastIndexOf(":")))]
      places.set(record.last, at)
      value = at + key.length
      value += /^[ \t]*/.exec(text.slice(value, end))?.[0].length ?? 0
    }
    const read = walkValue(
      value,
      key === undefined ? (blocks.at(-1)?.indent ?? 0) : at - start,
      blocks.at(-1)?.last ?? []
    )
    if (read > end) end = lineEnd(text, read)
  }
}
