/**
 * What the benchmark found: a table with verdicts, and the files in `results/`.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { versions as etcdVersions } from "../test/harness/versions.ts"
import { findRuntime, root, type RuntimeName, versionOf } from "../tools/runtimes.ts"
import { goVersions } from "./go.ts"
import type { Model } from "./model.ts"
import { plot } from "./plot.ts"
import type { Contender, Scenario } from "./scenario.ts"

/** Who took part, on what. */
export interface Lane {
  readonly contender: Contender
  readonly runtime: RuntimeName | "go"
}

/** The figures of each lane, one number for each turn. */
export interface MeasuredLane extends Lane {
  readonly figures: Readonly<Record<string, ReadonlyArray<number>>>
}

export interface Result {
  readonly scenario: Scenario
  readonly lanes: ReadonlyArray<MeasuredLane>
}

export interface Report {
  /** The day. */
  readonly date: string
  readonly machine: string
  readonly versions: Readonly<Record<string, string>>
  readonly rounds: number
  readonly results: ReadonlyArray<Result>
  readonly model?: Model
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? Number.NaN)) / 2
}

export const show = (value: number): string =>
  Number.isInteger(value) ? String(value) : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)

/** The lane of a contender beside a runtime: its own on that runtime, or Go's. */
export const laneOf = (result: Result, contender: Contender, runtime: RuntimeName): MeasuredLane | undefined =>
  result.lanes.find((lane) => lane.contender === contender && (lane.runtime === runtime || lane.runtime === "go"))

export const runtimesOf = (result: Result): ReadonlyArray<RuntimeName> => [
  ...new Set(result.lanes.flatMap(({ runtime }) => runtime === "go" ? [] : [runtime]))
]

export interface Verdict {
  readonly runtime: RuntimeName
  readonly figure: string
  readonly holds: boolean
  readonly text: string
}

/**
 * How our figures stand to their limits. A rival that did not take part, or a scenario that did not run, is no limit.
 * A smoke run asks only for what holds on every machine.
 */
export const verdicts = (result: Result, results: ReadonlyArray<Result>, smoke: boolean): ReadonlyArray<Verdict> =>
  runtimesOf(result).flatMap((runtime) => {
    const ours = laneOf(result, "ours", runtime)
    return result.scenario.limits.flatMap((limit): ReadonlyArray<Verdict> => {
      const { comparedWith, figure } = limit
      const values = ours?.figures[figure] ?? []
      const verdict = (holds: boolean, said: string): ReadonlyArray<Verdict> => [
        { runtime, figure, holds, text: `${result.scenario.name} on ${runtime}, ${figure}: ${said}` }
      ]
      if ("exactly" in limit) {
        const measured = values.filter((value) => !Number.isNaN(value))
        return verdict(
          values.length > 0 && measured.every((value) => value === limit.exactly),
          `${[...new Set(values)].map(show).join(", ")}, must be ${limit.exactly}`
        )
      }
      if (smoke) return []
      const rival = comparedWith === undefined ?
        [1] :
        "contender" in comparedWith ?
        laneOf(result, comparedWith.contender, runtime)?.figures[figure] :
        results.filter(({ scenario }) => scenario.name === comparedWith.scenario)
          .flatMap((other) => laneOf(other, "ours", runtime)?.figures[figure] ?? [])
      if (rival === undefined || rival.length === 0) return []
      const value = median(values) / median(rival)
      const of = comparedWith === undefined ? "" : ` × ${Object.values(comparedWith)[0]}`
      return verdict(value <= limit.atMost, `${show(value)}${of}, at most ${show(limit.atMost)}`)
    })
  })

/** The table of one scenario, for people; also legal Markdown. */
export const table = (result: Result, verdicts: ReadonlyArray<Verdict>): string => {
  const { about, contenders, name } = result.scenario
  const present = contenders.filter((contender) => result.lanes.some((lane) => lane.contender === contender))
  const [, rival] = present
  const turns = Math.max(
    0,
    ...result.lanes.flatMap(({ figures }) => Object.values(figures).map(({ length }) => length))
  )
  const rows: Array<ReadonlyArray<string>> = [
    ["runtime", "figure", ...present, ...(rival === undefined ? [] : [`ours / ${rival}`]), "limit"]
  ]
  for (const runtime of runtimesOf(result)) {
    const lanes = present.map((contender) => laneOf(result, contender, runtime))
    for (const figure of new Set(lanes.flatMap((lane) => Object.keys(lane?.figures ?? {})))) {
      const cells = lanes.map((lane) => {
        const values = lane?.figures[figure]
        if (values === undefined) return ""
        const [low, high] = [Math.min(...values), Math.max(...values)]
        return low === high ? show(low) : `${show(median(values))} (${show(low)}–${show(high)})`
      })
      const ratio = median(lanes[0]?.figures[figure] ?? []) / median(lanes[1]?.figures[figure] ?? [])
      const held = verdicts.filter((verdict) => verdict.runtime === runtime && verdict.figure === figure)
      rows.push([
        runtime,
        figure,
        ...cells,
        ...(rival === undefined ? [] : [Number.isNaN(ratio) ? "" : show(ratio)]),
        held.map(({ holds, text }) => `${holds ? "ok" : "SHORT"}: ${text.slice(text.indexOf(": ") + 2)}`).join("; ")
      ])
    }
  }
  return [`\n### ${name}`, `\n${about}; median of ${turns} (min–max)\n`, markdownTable(rows)].join("\n")
}

/** Rows, the first of which is the head; for people as well as for Markdown. */
export const markdownTable = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]?.map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = rows.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`)
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`
  return [lines[0], rule, ...lines.slice(1)].join("\n")
}

const versionOfPackage = (name: string): string =>
  JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")).version

/** The day, the machine and what runs on it; nothing that names a host or a path. */
export const environment = (
  runtimes: ReadonlyArray<RuntimeName>,
  results: ReadonlyArray<Result>
): Omit<Report, "rounds" | "results"> => ({
  date: new Date().toISOString().slice(0, 10),
  machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${
    (os.totalmem() / 2 ** 30).toFixed(0)
  } GB, ${os.type()}`,
  versions: {
    ...Object.fromEntries(runtimes.map((name) => [name, versionOf(findRuntime(name) ?? name) ?? "?"])),
    etcd: etcdVersions[0] ?? "?",
    etcd3: versionOfPackage("etcd3"),
    effect: versionOfPackage("effect"),
    ...(results.some(({ lanes }) => lanes.some(({ runtime }) => runtime === "go")) ? { go: goVersions } : {})
  }
})

/** On what it was measured, and when. */
export const whereOf = ({ date, machine, versions }: Omit<Report, "rounds" | "results">): ReadonlyArray<string> => [
  machine,
  Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", "),
  date
]

/** The family of a scenario: its name without the size. */
export const familyOf = (name: string): string => name.replace(/-\d+$/, "")

const write = (name: string, text: string): void => {
  const folder = join(root, "bench", "results")
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), text)
}

const page = (title: string, report: Report, sections: ReadonlyArray<string>): string => {
  const where = [...whereOf(report), `${report.rounds} alternations`]
  return [`# ${title}`, "", ...where.map((line) => `- ${line}`), ...sections].join("\n") + "\n"
}

/** Writes where the CPU goes. */
export const writeProfiles = (report: Report): void =>
  write(
    "profiles.md",
    page("Profiles", report, [
      "\nMilliseconds of the measured spell in JavaScript, by whose code it is. Sampling makes everything slower: what counts is",
      "the share of each owner.",
      ...report.results.map((result) => table(result, []))
    ])
  )

/** Writes the figures, the table, and a plot of each family. */
export const writeResults = (report: Report): void => {
  if (report.results.length === 0) return
  write("results.json", JSON.stringify(report, undefined, 1) + "\n")
  const where = [...whereOf(report), `${report.rounds} alternations`]
  const families = [...new Set(report.results.map(({ scenario }) => familyOf(scenario.name)))]
  for (const family of families) {
    const members = report.results.filter(({ scenario }) => familyOf(scenario.name) === family)
    write(`${family}.svg`, plot(family, members, where))
  }
  const sections = report.results.map((result) => table(result, verdicts(result, report.results, false)))
  const pictures = families.map((family) => `![${family}](${family}.svg)`)
  write("README.md", page("Results", report, [...sections, "", ...pictures]))
}
