/**
 * The negative control: which rules the naive client breaks under which fault. A fault that is not in the list finds
 * nothing wrong with it. `deno task faults --subject naive` prints what it finds in this form.
 *
 * @module
 */
import type { Rule } from "./check.ts"

export const caughtBy: Readonly<Record<string, ReadonlyArray<Rule>>> = {}
