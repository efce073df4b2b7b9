/**
 * Figures of a run, and how they stand to their limits.
 *
 * @module
 */
import { type RuntimeName, runtimeNames } from "../tools/runtimes.ts"
import type { Limit, Scenario } from "./scenario.ts"

/** The figures of one contender on one runtime, one number for each turn. */
export interface Lane {
  readonly contender: string
  readonly runtime: RuntimeName
  readonly figures: Readonly<Record<string, ReadonlyArray<number>>>
}

export interface Result {
  readonly scenario: Scenario
  readonly lanes: ReadonlyArray<Lane>
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? Number.NaN)) / 2
}

export const show = (value: number): string =>
  Number.isInteger(value) ? String(value) : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)

export const valuesOf = (
  result: Result | undefined,
  contender: string,
  runtime: RuntimeName,
  figure: string
): ReadonlyArray<number> =>
  result?.lanes.find((lane) => lane.contender === contender && lane.runtime === runtime)?.figures[figure] ?? []

export const runtimesOf = ({ lanes }: Result): ReadonlyArray<RuntimeName> =>
  runtimeNames.filter((name) => lanes.some(({ runtime }) => runtime === name))

export interface Verdict {
  readonly scenario: string
  readonly runtime: RuntimeName
  readonly limit: Limit
  readonly holds: boolean
  /** The median, the same median of whom it is compared with, and the number that is held to the limit. */
  readonly ours: number
  readonly theirs: number | undefined
  readonly value: number
  readonly atMost: number
}

/**
 * Holds the figures of a scenario to its limits.
 *
 * A limit whose figures were not measured does not hold, unless its whole scenario to compare with was not run. A smoke
 * run checks only what holds on every machine.
 */
export const verdicts = (result: Result, all: ReadonlyArray<Result>, smoke: boolean): ReadonlyArray<Verdict> =>
  runtimesOf(result).flatMap((runtime) =>
    result.scenario.limits.filter(({ always }) => !smoke || always === true).flatMap((limit) => {
      const { comparedWith, figure, of = "ours" } = limit
      const other = comparedWith?.scenario === undefined ?
        result :
        all.find(({ scenario }) => scenario.name === comparedWith.scenario)
      if (other === undefined) return []
      const ours = median(valuesOf(result, of, runtime, figure))
      const theirs = comparedWith === undefined ?
        undefined :
        median(valuesOf(other, comparedWith.contender ?? of, runtime, figure))
      const value = theirs === undefined ? ours : comparedWith?.as === "difference" ? ours - theirs : ours / theirs
      const atMost = typeof limit.atMost === "number" ? limit.atMost : limit.atMost[runtime]
      return [{ scenario: result.scenario.name, runtime, limit, holds: value <= atMost, ours, theirs, value, atMost }]
    })
  )
