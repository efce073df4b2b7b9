/**
 * What the command `exec` loads when it runs.
 *
 * @module
 */
export * as Probe from "../../declared/health/Probe.ts"
export * as Child from "./Child.ts"
export * as Exec from "./exec.ts"
