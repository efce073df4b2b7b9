import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

/**
 * A problem of a declaration. It contains no value of the file, because values may be secret.
 *
 * @since 0.1.0
 * @category errors
 */
export interface DeclarationProblem {
  /** The path of the member, such as `services[0].endpoints[1]`. Empty for the whole file. */
  readonly path: string
  /** The broken rule. */
  readonly rule: string
  /** The line, starting at 1. 0 if it is unknown: in TOML, or if the file could not be read. */
  readonly line: number
  /** The column, starting at 1. 0 if it is unknown. */
  readonly column: number
}

/** Returns a problem as one line of text. */
export const problemText = (source: string, { column, line, path, rule }: DeclarationProblem): string => {
  const place = line === 0 ? source : column === 0 ? `${source}:${line}` : `${source}:${line}:${column}`
  return `${place} ${path === "" ? "" : `${path}: `}${rule}`
}

const InvalidDeclarationBase: TaggedErrorClass<"InvalidDeclaration", {
  /** The file. */
  readonly source: string
  /** All problems, in the order of the file. */
  readonly problems: ReadonlyArray<DeclarationProblem>
}> = TaggedErrorClass("InvalidDeclaration")

/**
 * An invalid declaration. Nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidDeclaration extends InvalidDeclarationBase {
  override get message(): string {
    const { length } = this.problems
    const lines = this.problems.map((problem) => `\n  ${problemText(this.source, problem)}`)
    return `nothing was registered: ${length === 1 ? "1 problem" : `${length} problems`}${lines.join("")}`
  }
}
