/**
 * The table of outcomes: fault × runtime.
 *
 * @module
 */
import type { RuntimeName } from "../../tools/runtimes.ts"
import type { Figures, Rule } from "./check.ts"

export interface Report {
  readonly title: string
  readonly broken: ReadonlyArray<Rule>
  readonly error?: string
  /** The violations as text; empty if there are none. */
  readonly explanation: string
  readonly figures: Figures
  readonly seconds: number
}

/** The quantile of the samples. */
export const percentile = (samples: ReadonlyArray<number>, fraction: number): number => {
  const ordered = [...samples].sort((a, b) => a - b)
  return ordered[Math.min(ordered.length - 1, Math.floor(fraction * ordered.length))] ?? 0
}

const shown = (milliseconds: number): string =>
  milliseconds >= 1e9 ?
    "never" :
    milliseconds < 1000 ?
    `${Math.round(milliseconds)} ms` :
    `${(milliseconds / 1000).toFixed(1)} s`

const three = (samples: ReadonlyArray<number>): string =>
  samples.length === 0 ?
    "–" :
    [percentile(samples, 0.5), percentile(samples, 0.99), Math.max(...samples)].map(shown).join(" / ")

/** Whether no report has a violation. */
export const isGreen = ({ broken, error }: Report): boolean => broken.length === 0 && error === undefined

const verdict = (reports: ReadonlyArray<Report>): string => {
  if (reports.length === 0) return "not run"
  const broken = [...new Set(reports.flatMap((report) => report.broken))]
  if (reports.every(isGreen)) return reports.length === 1 ? "held" : `held ${reports.length} times`
  return broken.length === 0 ? "**could not be played**" : `**broken: ${broken.join(", ")}**`
}

/** A Markdown table with a row per fault. */
export const tableOf = (
  titles: ReadonlyArray<string>,
  reports: ReadonlyMap<RuntimeName, ReadonlyArray<Report>>
): string => {
  const runtimes = [...reports.keys()]
  const rows = titles.map((title) => {
    const found = runtimes.map((name) => (reports.get(name) ?? []).filter((report) => report.title === title))
    const all = found.flat()
    return [
      title,
      ...found.map(verdict),
      three(all.flatMap(({ figures }) => figures.converged)),
      three(all.flatMap(({ figures }) => figures.back))
    ]
  })
  return [
    ["fault", ...runtimes, "subscribers: p50 / p99 / worst", "registrants: p50 / p99 / worst"],
    ["---", ...runtimes.map(() => "---"), "---", "---"],
    ...rows
  ].map((row) => `| ${row.join(" | ")} |`).join("\n")
}

/** The largest burst: the share of all events that happened within a tenth of a second. */
export const burst = (samples: ReadonlyArray<number>): number => {
  const ordered = [...samples].sort((a, b) => a - b)
  let widest = 0
  for (let from = 0, to = 0; to < ordered.length; to++) {
    while ((ordered[to] ?? 0) - (ordered[from] ?? 0) > 100) from++
    widest = Math.max(widest, to - from + 1)
  }
  return ordered.length === 0 ? 0 : widest / ordered.length
}
