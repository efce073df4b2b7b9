/**
 * The examples in the documents of the project.
 *
 * @module
 */

/** A block of code in a document. */
export interface DocumentExample {
  /** What follows the fence, such as `ts` or `ts ignore`. */
  readonly tag: string
  readonly code: string
  /** The line of the fence, from 1 on. */
  readonly line: number
}

/** The blocks of code of a document, in its order. */
export const examplesOf = (text: string): ReadonlyArray<DocumentExample> =>
  [...text.matchAll(/^```(\w[^\n]*)\n([^]*?)^```$/gm)].map(({ 1: tag = "", 2: code = "", index }) => ({
    tag,
    code,
    line: text.slice(0, index).split("\n").length
  }))
