/**
 * The table of faults.
 *
 * @module
 */
import type { Fault } from "../Fault.ts"
import { serverFaults } from "./server.ts"

export const faults: ReadonlyArray<Fault> = [...serverFaults]
