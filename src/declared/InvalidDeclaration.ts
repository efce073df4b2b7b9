import { Data } from "effect"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

/**
 * One problem of a declaration.
 *
 * **Details**
 *
 * It does not contain what the file says there, which may be secret.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeclarationProblem {
  /** Such as `services[0].endpoints[1]`; empty for the whole. */
  readonly path: string
  /** What it must be. */
  readonly rule: string
  /** From 1; both are 0 when the file could not be read. */
  readonly line: number
  readonly column: number
}

const InvalidDeclarationBase: TaggedErrorClass<"InvalidDeclaration", {
  /** The file. */
  readonly source: string
  /** Everything that is wrong, in the order of the file. */
  readonly problems: ReadonlyArray<DeclarationProblem>
}> = Data.TaggedError("InvalidDeclaration")

/**
 * An invalid declaration, with all its problems. Nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidDeclaration extends InvalidDeclarationBase {
  override get message(): string {
    const { length } = this.problems
    const lines = this.problems.map(({ column, line, path, rule }) =>
      `\n  ${line === 0 ? this.source : `${this.source}:${line}:${column}`} ${path === "" ? "" : `${path}: `}${rule}`
    )
    return `nothing was registered: ${length === 1 ? "1 problem" : `${length} problems`}${lines.join("")}`
  }
}
