/**
 * `etcd-discovery watch`: a live table on a terminal, and one JSON object per line otherwise.
 *
 * @module
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type Cell, Json, printEach, printJson, Screen, styled, tableLines } from "../output.ts"
import * as Target from "../target.ts"
import { header, jsonOfSet, rejectedRows, rowOf } from "../view.ts"
import { type View, views } from "../views.ts"

const rowsOf = ({ sets }: View, hasServices: boolean): ReadonlyArray<ReadonlyArray<Cell>> =>
  Array.from(sets).flatMap(([service, set]) =>
    [...set.instances.map(rowOf), ...rejectedRows(set)].map((row) => hasServices ? [service, ...row] : row)
  )

/** Renders a view as a screen: the state of etcd, then the table, cut to the size of the terminal. */
const frameOf = (title: string, view: View, hasServices: boolean, screen: Screen): string => {
  const { freshness, revision } = view
  const state: Cell = freshness._tag === "Live" ?
    styled("dim", `revision ${revision}`) :
    styled("red", `stale since ${new Date(freshness.since).toISOString()}: ${freshness.cause.message}`)
  const options = { hasColour: screen.hasColour, columns: screen.columns() }
  const titles = hasServices ? ["SERVICE", ...header] : header
  const rows = rowsOf(view, hasServices)
  // Laying out a table takes time for each row, and a service may have thousands.
  const fitting = rows.slice(0, screen.rows())
  const lines = [
    ...tableLines([], [[styled("bold", title), state]], options),
    ...tableLines(titles, fitting, options)
  ]
  const left = lines.length + rows.length - fitting.length - (screen.rows() - 1)
  const shown = left <= 0 ? lines : [...lines.slice(0, screen.rows() - 2), `… ${left + 1} more`]
  // Avoids flicker: moves to the top, clears each line to its end, then clears everything below.
  return `\u001b[H${shown.map((line) => `${line}\u001b[K\n`).join("")}\u001b[J`
}

/** The sets that differ from those in the previous view. */
const changedSets = (before: View | undefined, { freshness, revision, sets }: View): ReadonlyArray<unknown> => {
  const lines: Array<unknown> = []
  for (const [service, set] of sets) if (before?.sets.get(service) !== set) lines.push(jsonOfSet(service, set))
  for (const service of before?.sets.keys() ?? []) {
    if (!sets.has(service)) {
      lines.push({ service, revision, freshness: { state: freshness._tag.toLowerCase() }, instances: [], rejected: [] })
    }
  }
  return lines
}

export const watch = Command.make(
  "watch",
  { service: Argument.optional(Target.service), format: Target.format },
  Effect.fnUntraced(function* ({ format, service }) {
    const screen = yield* Screen
    const found = yield* views(service, format)
    if (screen.isTerminal && !(yield* Json)) {
      const title = Option.getOrElse(service, () => "all services")
      yield* Console.log("\u001b[2J")
      return yield* printEach(
        found,
        (view) => Console.log(frameOf(title, view, Option.isNone(service), screen))
      )
    }
    const lines = Stream.mapAccum(
      found,
      (): View | undefined => undefined,
      (before, view): readonly [View, ReadonlyArray<unknown>] => [view, changedSets(before, view)]
    )
    yield* printEach(lines, printJson)
  })
).pipe(
  Command.withDescription("Watch one service or all services: a live table, or JSON lines when piped"),
  Command.withExamples([
    { command: "etcd-discovery watch orders", description: "A live table until Ctrl-C" },
    {
      command: "etcd-discovery watch orders | jq -c '[.instances[].id]'",
      description: "One line with the complete set after each change"
    }
  ])
)
