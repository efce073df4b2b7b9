/**
 * How the benchmark and a program of it talk.
 *
 * @module
 */
import { Effect } from "effect"
import type { Program } from "../test/harness/program.ts"
import type { Drive, Figures } from "./scenario.ts"

/** The figures that a program prints. The turn's own limit ends the wait. */
export const figuresOf = (program: Program): Effect.Effect<Figures, Error> =>
  Effect.map(program.awaitLine(/^figures /, 600_000), (line) => {
    const figures: Readonly<Record<string, number | null>> = JSON.parse(line.slice("figures ".length))
    // JSON has no NaN: a figure that this system cannot measure is left out.
    return Object.fromEntries(Object.entries(figures).flatMap(([name, value]) => value === null ? [] : [[name, value]]))
  })

/** Lets the program start, and waits for its figures. */
export const runAlone: Drive = ({ program }) => Effect.andThen(program.endInput, figuresOf(program))
