/**
 * The modules that the command `exec` loads at run time.
 *
 * @module
 */
export * as Probe from "../../declared/health/Probe.ts"
export * as Child from "./Child.ts"
export * as Exec from "./exec.ts"
