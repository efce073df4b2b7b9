/**
 * A web console for a namespace: its instances, their changes, and how current the data is.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as WebConsole from "./WebConsole.ts"
