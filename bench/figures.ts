/**
 * Evaluates the figures of a run against their limits.
 *
 * @module
 */
import { type RuntimeName, runtimeNames } from "../tools/runtimes.ts"
import type { Limit, Scenario } from "./scenario.ts"

/** The figures of one contender on one runtime, one number per turn. */
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
  /** The median, the median of the figure to compare with, and the number to compare with the limit. */
  readonly ours: number
  readonly theirs: number | undefined
  readonly value: number
  readonly atMost: number
}

/**
 * Evaluates the limits of a scenario.
 *
 * A limit without measured figures does not hold, unless the whole scenario to compare with was not run. A smoke run
 * evaluates only limits that hold on every machine.
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
