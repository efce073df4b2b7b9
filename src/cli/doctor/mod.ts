/** The parts of `doctor`, loaded when it runs. */
export { gather } from "./facts.ts"
export { judge } from "./findings.ts"
