/**
 * The protocol between the benchmark and its programs.
 *
 * @module
 */
import { Effect } from "effect"
import type { Program } from "../test/harness/program.ts"
import type { Drive, Figures } from "./scenario.ts"

/** Waits for the figures of a program. The turn's time limit ends the wait. */
export const figuresOf = (program: Program): Effect.Effect<Figures, Error> =>
  Effect.map(program.awaitLine(/^figures /, 600_000), (line) => {
    const figures: Readonly<Record<string, number | null>> = JSON.parse(line.slice("figures ".length))
    // JSON has no NaN: figures that this system cannot measure are omitted.
    return Object.fromEntries(Object.entries(figures).flatMap(([name, value]) => value === null ? [] : [[name, value]]))
  })

/** Starts the program and waits for its figures. */
export const runAlone: Drive = ({ program }) => Effect.andThen(program.endInput, figuresOf(program))
