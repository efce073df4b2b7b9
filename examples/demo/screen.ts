/**
 * The output of the demo: on a terminal a table that is redrawn in place, otherwise plain lines.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import process from "node:process"
import { Freshness, type InstanceSet } from "../../mod.ts"

export interface Screen {
  readonly isLive: boolean
  /** Shows the current step. */
  readonly say: (text: string) => Effect.Effect<void>
  /** Shows a new set. */
  readonly show: (set: InstanceSet.InstanceSet) => Effect.Effect<void>
  /** Shows the remaining seconds of the leases, by instance. */
  readonly leases: (left: ReadonlyMap<string, number>) => Effect.Effect<void>
}

const columns = ["id", "endpoint", "zone", "version", "status", "lease"] as const
/** Minimum widths, large enough for all rows, so that the table does not jump. */
const minWidths = [6, 20, 4, 7, 8, 8] as const
/** Rows to draw always, so that the lines below the table do not jump. */
const rows = 3

const esc = "\u001b["
const styled = (code: string) => (text: string): string => `${esc}${code}m${text}${esc}0m`
const bold = styled("1")
const dim = styled("2")
const colours: Readonly<Record<string, (text: string) => string>> = {
  up: styled("32"),
  draining: styled("33")
}

/** One line per set, such as `3 instances at revision 7: shop-1, shop-2, shop-3`. */
const summary = (set: InstanceSet.InstanceSet): string => {
  const instances = Array.from(set, ({ id, status }) => status === "up" ? id : `${id} (${status})`)
  const stale = Freshness.$is("Stale")(set.freshness) ? " (stale)" : ""
  const count = `${set.size} ${set.size === 1 ? "instance" : "instances"} at revision ${set.revision}${stale}`
  return instances.length === 0 ? count : `${count}: ${instances.join(", ")}`
}

const clock = () => {
  const start = performance.now()
  return () => `${((performance.now() - start) / 1000).toFixed(1).padStart(5)} s`
}

// `demo | head` closes the pipe early. The demo then continues without output and cleans up at the end.
process.stdout.on("error", () => {})

const write = (text: string) =>
  Effect.sync(() => {
    process.stdout.write(text)
  })

const plain = (title: string): Effect.Effect<Screen> => {
  const now = clock()
  return Effect.as(write(`${title}\n`), {
    isLive: false,
    say: (text) => write(`\n${text}\n`),
    show: (set) => write(`${now()}  ${summary(set)}\n`),
    leases: () => Effect.void
  })
}

class Live implements Screen {
  readonly isLive = true
  readonly #title: string
  readonly #now = clock()
  readonly #log: Array<string> = []
  #text = ""
  #set: InstanceSet.InstanceSet | undefined
  #leases: ReadonlyMap<string, number> = new Map()
  /** Lines of the last drawing. */
  #height = 0

  constructor(title: string) {
    this.#title = title
  }

  readonly say = (text: string) => {
    this.#text = text
    return this.#draw
  }
  readonly show = (set: InstanceSet.InstanceSet) => {
    this.#set = set
    this.#log.push(`${this.#now()}  ${summary(set)}`)
    return this.#draw
  }
  readonly leases = (left: ReadonlyMap<string, number>) => {
    this.#leases = left
    return this.#draw
  }

  readonly #draw = Effect.suspend(() => {
    const width = Math.max(20, (process.stdout.columns ?? 80) - 1)
    const above = [
      bold(clip(this.#title, width)),
      "",
      ...fold(this.#text, width, 3),
      "",
      ...this.#table(width).map((line) => `  ${line}`),
      ""
    ]
    const room = Math.max(1, (process.stdout.rows ?? 24) - above.length - 1)
    const lines = [...above, ...this.#log.slice(-room).map((line) => dim(clip(line, width)))]
    // Move up and overwrite the last drawing line by line, to avoid flicker.
    const up = this.#height === 0 ? "" : `${esc}${this.#height}A\r`
    this.#height = lines.length
    return write(`${up}${lines.map((line) => `${line}${esc}K\n`).join("")}${esc}J`)
  })

  #table(width: number): ReadonlyArray<string> {
    const cells = (this.#set?.instances ?? []).map(({ endpoints, id, status, version = "", zone = "" }) => {
      const left = this.#leases.get(id)
      return [id, endpoints.join(" "), zone, version, status, left === undefined ? "" : `${left} s left`]
    })
    const widths = columns.map((_, column) =>
      Math.max(minWidths[column] ?? 0, ...cells.map((row) => row[column]?.length ?? 0))
    )
    const line = (row: ReadonlyArray<string>, paint: (text: string, column: number) => string) =>
      row.map((cell, column) => paint(cell.padEnd(widths[column] ?? 0), column)).join("  ")
    const fits = widths.reduce((sum, width) => sum + width + 2, 0) <= width
    if (!fits) return (this.#set?.instances ?? []).map(({ id, status }) => `${id} ${status}`)
    const body = cells.map((row) =>
      line(row, (cell, column) => columns[column] === "status" ? colours[cell.trim()]?.(cell) ?? cell : cell)
    )
    const none = this.#set !== undefined && body.length === 0 ? [dim("(none)")] : []
    const free = Array.from({ length: Math.max(0, rows - body.length - none.length) }, () => "")
    return [line(columns, (cell) => dim(cell)), ...body, ...none, ...free]
  }
}

const clip = (text: string, width: number): string => text.length > width ? `${text.slice(0, width - 1)}…` : text

/** Wraps a text into exactly `count` lines. */
const fold = (text: string, width: number, count: number): ReadonlyArray<string> => {
  const lines: Array<string> = [""]
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? ""
    if (last !== "" && last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`
  }
  return Array.from({ length: count }, (_, index) => lines[index] ?? "")
}

/** Opens the screen until the scope closes. Hides the cursor meanwhile, and shows it again however the process ends. */
export const make = (title: string): Effect.Effect<Screen, never, Scope.Scope> => {
  if (!process.stdout.isTTY) return plain(title)
  const showCursor = () => {
    process.stdout.write(`${esc}?25h`)
  }
  return Effect.acquireRelease(
    Effect.sync(() => {
      process.on("exit", showCursor)
      process.stdout.write(`${esc}?25l`)
      return new Live(title)
    }),
    () =>
      Effect.sync(() => {
        process.off("exit", showCursor)
        showCursor()
      })
  )
}
