/**
 * What the command `render` loads when it runs.
 *
 * @module
 */
export { formats } from "./formats/mod.ts"
export { loadFormat } from "./module.ts"
export * as Render from "./render.ts"
