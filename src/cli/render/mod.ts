/**
 * The modules that the command `render` loads at run time.
 *
 * @module
 */
export { formats } from "./formats/mod.ts"
export { loadFormat } from "./module.ts"
export * as Render from "./render.ts"
