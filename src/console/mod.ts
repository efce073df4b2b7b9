/**
 * A web console for a namespace: what is registered, how current that is, and what changed.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as WebConsole from "./WebConsole.ts"
