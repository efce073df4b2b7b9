/**
 * The stylesheet and the script. Their names change with their content, so browsers may cache them without expiry.
 *
 * @module
 */
import { hash } from "../../internal/hash.ts"
import { script } from "./script.ts"
import { style } from "./style.ts"

/** A file that pages load. */
export interface Asset {
  readonly name: string
  readonly type: string
  readonly content: string
}

const make = (name: string, extension: string, type: string, content: string): Asset => ({
  name: `${name}-${hash(content).toString(36)}.${extension}`,
  type,
  content
})

/** The files. */
export const asset = {
  style: make("style", "css", "text/css; charset=utf-8", style),
  script: make("script", "js", "text/javascript; charset=utf-8", script)
} as const
