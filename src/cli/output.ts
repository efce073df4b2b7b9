/**
 * The output of commands: JSON, aligned tables and lines. Only terminals get colours.
 *
 * Names and values come from etcd, so anyone may have written them. {@link printable} and {@link jsonText} escape
 * control characters before they reach the terminal. All output of commands passes through one of them.
 *
 * @module
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Stream from "effect/Stream"
import process from "node:process"
import { jsonOf } from "../internal/json.ts"

/** Whether to print JSON: `yield* Json` in a command. */
export const Json: GlobalFlag.Setting<"json", boolean> = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print JSON: one document, or one object per line for a stream"),
    Flag.withDefault(false)
  )
})

/** The destination of the output. */
export interface Screen {
  readonly isTerminal: boolean
  readonly hasColour: boolean
  readonly columns: () => number
  readonly rows: () => number
  /** Completes when the reader has received all output. Commands that follow etcd wait for it. */
  readonly flushed: Effect.Effect<void>
}

const isSet = (value: string | undefined): boolean => value !== undefined && value !== ""

/** The standard output of this process. `NO_COLOR` turns colours off. */
export const processScreen = (flushed: Effect.Effect<void>): Screen => {
  const isTerminal = process.stdout.isTTY === true && process.env["TERM"] !== "dumb"
  return {
    isTerminal,
    hasColour: isTerminal && !isSet(process.env["NO_COLOR"]),
    columns: () => process.stdout.columns ?? 80,
    rows: () => process.stdout.rows ?? 24,
    flushed
  }
}

/** The service that provides the {@link Screen}. */
export const Screen: Context.Reference<Screen> = Context.Reference("@effect-etcd/discovery/cli/Screen", {
  defaultValue: (): Screen => processScreen(Effect.void)
})

/** Control characters, invisible formatting such as bidirectional overrides, line separators, and lone surrogates. */
// deno-lint-ignore no-control-regex -- matches control characters on purpose
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}/gu

const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

/** Returns a text on one line that is safe to print: control characters become `\u001b` and the like. */
export const printable = (text: string): string => text.replace(unsafe, escape)

/** Returns a value as JSON that is safe to print. A `bigint` becomes a decimal string. */
export const jsonText = (value: unknown): string => JSON.stringify(jsonOf(value)).replace(unsafe, escape)

/** Prints a value as one line of JSON. */
export const printJson = (value: unknown): Effect.Effect<void> => Console.log(jsonText(value))

/** Prints each element of a stream, at the pace of the reader. */
export const printEach = <A, E, R, E2, R2>(
  stream: Stream.Stream<A, E, R>,
  print: (element: A) => Effect.Effect<void, E2, R2>
): Effect.Effect<void, E | E2, R | R2> =>
  Effect.flatMap(
    Screen,
    ({ flushed }) => Stream.runForEach(stream, (element) => Effect.andThen(print(element), flushed))
  )

/** Prints lines of text. */
export const printLines = (lines: ReadonlyArray<string>): Effect.Effect<void> =>
  lines.length === 0 ? Effect.void : Console.log(lines.join("\n"))

/** The highlighting of a text. */
export type Style = "bold" | "dim" | "green" | "yellow" | "red"

const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }

/** A cell of a table: a text, or a text with a style. */
export type Cell = string | { readonly text: string; readonly style: Style }

/** A text with a style. */
export const styled = (style: Style, text: string): Cell => ({ text, style })

/** Returns the status of an instance with its style. */
export const statusCell = (status: string): Cell =>
  styled(status === "up" ? "green" : status === "down" ? "red" : "yellow", status)

const mark = /\p{M}/u
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u

/** Returns how many terminal columns a text occupies. */
const widthOf = (text: string): number => {
  let width = 0
  for (const character of text) width += mark.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}

/** Cuts a text to a number of columns. */
const cut = (text: string, columns: number): string => {
  if (widthOf(text) <= columns) return text
  let width = 1
  let kept = ""
  for (const character of text) {
    width += widthOf(character)
    if (width > columns) break
    kept += character
  }
  return `${kept}…`
}

const paint = (style: Style | undefined, text: string, hasColour: boolean): string =>
  style === undefined || !hasColour || text === "" ? text : `\u001b[${codes[style]}m${text}\u001b[0m`

/** Options of {@link tableLines}. */
export interface TableOptions {
  readonly hasColour?: boolean
  /** The width to cut lines to. Default: no limit. */
  readonly columns?: number
}

/**
 * Returns the lines of a table. Columns are as wide as their widest cell, with two spaces between them. An empty header
 * prints no header line.
 */
export const tableLines = (
  header: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>,
  { columns = Infinity, hasColour = false }: TableOptions = {}
): ReadonlyArray<string> => {
  const titles = header.length === 0 ? [] : [header.map((text) => styled("bold", text))]
  const cells = [...titles, ...rows].map((row) =>
    row.map((cell) => typeof cell === "string" ? { text: printable(cell) } : { ...cell, text: printable(cell.text) })
  )
  const widths: Array<number> = []
  for (const row of cells) {
    for (const [column, { text }] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, widthOf(text))
  }
  return cells.map((row) => {
    let line = ""
    let at = 0
    for (const [column, cell] of row.entries()) {
      const text = cut(cell.text, Math.max(0, columns - at))
      const isLast = row.slice(column + 1).every(({ text }) => text === "")
      line += paint("style" in cell ? cell.style : undefined, text, hasColour)
      if (isLast || text !== cell.text) break
      const padding = Math.min((widths[column] ?? 0) - widthOf(text) + 2, Math.max(0, columns - at - widthOf(text)))
      line += " ".repeat(padding)
      at += widthOf(text) + padding
    }
    return line
  })
}

/** Prints a table. */
export const printTable = (
  header: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>
): Effect.Effect<void> => Effect.flatMap(Screen, ({ hasColour }) => printLines(tableLines(header, rows, { hasColour })))

/** Prints a line of text with a style, made {@link printable}. */
export const printLine = (cell: Cell): Effect.Effect<void> =>
  Effect.flatMap(Screen, ({ hasColour }) => {
    const { style, text } = typeof cell === "string" ? { style: undefined, text: cell } : cell
    return Console.log(paint(style, printable(text), hasColour))
  })

/** Prints a line to standard error. Standard output carries the result only. */
export const printNote = (text: string): Effect.Effect<void> => Console.error(printable(text))
