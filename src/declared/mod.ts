/**
 * Registrations and discoveries that a file declares, in YAML, TOML or JSON.
 *
 * @since 0.1.0
 * @module
 */
export * as Declared from "./Declared.ts"
