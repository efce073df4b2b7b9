/**
 * The tables of a run: one per scenario, and the summary in the repository.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { versions as etcdVersions } from "../test/harness/versions.ts"
import { findRuntime, root, type RuntimeName, versionOf } from "../tools/runtimes.ts"
import { median, type Result, runtimesOf, show, valuesOf, type Verdict } from "./figures.ts"

/** Rows for reading as plain text and as Markdown. The first row is the head. */
export const markdownTable = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]?.map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = rows.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`)
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`
  return [lines[0], rule, ...lines.slice(1)].join("\n")
}

/** All figures of one scenario. */
export const scenarioTable = (result: Result): string => {
  const { about, contenders, name } = result.scenario
  const names = contenders.map(({ name }) => name)
  const [first = "", rival] = names
  const rows = runtimesOf(result).flatMap((runtime) => {
    const lanes = result.lanes.filter((lane) => lane.runtime === runtime)
    const figures = [...new Set(lanes.flatMap(({ figures }) => Object.keys(figures)))]
    return figures.map((figure) => [
      runtime,
      figure,
      ...names.map((name) => {
        const values = valuesOf(result, name, runtime, figure)
        if (values.length === 0) return ""
        const [low, high] = [Math.min(...values), Math.max(...values)]
        return low === high ? show(low) : `${show(median(values))} (${show(low)}–${show(high)})`
      }),
      ...(rival === undefined ? [] : [ratio(
        median(valuesOf(result, first, runtime, figure)),
        median(valuesOf(result, rival, runtime, figure))
      )])
    ])
  })
  const head = ["runtime", "figure", ...names, ...(rival === undefined ? [] : [`${first} / ${rival}`])]
  return `\n### ${name}\n\n${about}; median (least–most)\n\n${markdownTable([head, ...rows])}`
}

const ratio = (ours: number, theirs: number): string => {
  const value = ours / theirs
  return Number.isFinite(value) ? value.toFixed(2) : ""
}

/** Every limit with its measured figure, one row per runtime. */
export const limitsTable = (verdicts: ReadonlyArray<Verdict>): string =>
  markdownTable([
    ["scenario", "figure", "runtime", "measured", "compared with", "is", "at most", ""],
    ...verdicts.map(({ atMost, holds, limit, ours, runtime, scenario, theirs, value }) => {
      const { comparedWith } = limit
      const sign = comparedWith === undefined ? "" : comparedWith.as === "difference" ? "+" : "×"
      return [
        scenario,
        limit.of === undefined || limit.of === "ours" ? limit.figure : `${limit.figure} of ${limit.of}`,
        runtime,
        show(ours),
        theirs === undefined ? "" : `${comparedWith?.scenario ?? comparedWith?.contender}: ${show(theirs)}`,
        sign + show(value),
        sign + show(atMost),
        holds ? "holds" : "MISSED"
      ]
    })
  ])

const versionOfPackage = (name: string): string =>
  JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")).version

/** The day, the machine, its load and the versions, without host names or paths. */
export const environment = (
  runtimes: ReadonlyArray<RuntimeName>,
  rounds: number,
  loads: ReadonlyArray<number>
): ReadonlyArray<string> => [
  `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${(os.totalmem() / 2 ** 30).toFixed(0)} GB, ${os.type()}`,
  `load average (one minute) before the turns: ${show(median(loads))}, ${show(Math.min(...loads))} to ${
    show(Math.max(...loads))
  }`,
  [
    ...runtimes.map((name) => `${name} ${versionOf(findRuntime(name) ?? name) ?? "?"}`),
    `etcd ${etcdVersions[0] ?? "?"}`,
    ...["etcd3", "effect"].map((name) => `${name} ${versionOfPackage(name)}`)
  ].join(", "),
  `${new Date().toISOString().slice(0, 10)}, ${rounds} alternations`
]

/** Writes the summary in the repository. */
export const writeSummary = (environment: ReadonlyArray<string>, verdicts: ReadonlyArray<Verdict>): void => {
  const folder = join(root, "bench", "results")
  mkdirSync(folder, { recursive: true })
  const lines = [
    "# Results",
    "",
    ...environment.map((line) => `- ${line}`),
    "",
    "Written by `deno task bench --results` on the runtimes above; [the method](../README.md).",
    "",
    limitsTable(verdicts)
  ]
  writeFileSync(join(folder, "README.md"), lines.join("\n") + "\n")
}
