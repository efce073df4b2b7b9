/**
 * Replaces environment variables in the texts of a tree.
 *
 * Replacement follows parsing, so a variable's value is never syntax, and lines do not move.
 *
 * @module
 */
import type { Path, Problem } from "./document.ts"

/** A syntax of variables. */
export interface Syntax {
  /** Matches a reference. The groups are the name and the default. A match without a name must be in `literals`. */
  readonly reference: RegExp
  /** Matches with a fixed replacement. */
  readonly literals: Readonly<Record<string, string>>
  /** The rule for all other matches without a name. */
  readonly rule: string
}

/** `${NAME}` and `${NAME:-default}`. `$${` means `${`. */
export const ownSyntax: Syntax = {
  reference: /\$\$(?=\{)|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?/g,
  literals: { $$: "$" },
  rule: "a variable is ${NAME} or ${NAME:-default}, without others in it; ${ itself is $${"
}

/** go-zero's `$NAME` and `${NAME}`, and `${NAME:-default}`. `$$` means `$`. */
export const shellSyntax: Syntax = {
  reference: /\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|([A-Za-z_][A-Za-z0-9_]*)|\{)/g,
  literals: { $$: "$" },
  rule: "a variable is $NAME, ${NAME} or ${NAME:-default}; $ itself is $$"
}

/** Replaces the variables in a tree. An unset or empty variable becomes its default. */
export const expand = (
  tree: unknown,
  at: Path,
  variable: (name: string) => string | undefined,
  { literals, reference, rule }: Syntax
): { readonly tree: unknown; readonly problems: ReadonlyArray<Problem> } => {
  const problems: Array<Problem> = []
  const walk = (value: unknown, path: Path): unknown => {
    if (typeof value === "string") {
      return value.replace(reference, (found: string, braced?: string, fallback?: string, bare?: string | number) => {
        const literal = literals[found]
        if (literal !== undefined) return literal
        const name = braced ?? (typeof bare === "string" ? bare : undefined)
        if (name === undefined) {
          problems.push({ path, rule })
          return found
        }
        const set = variable(name)
        if (fallback !== undefined && (set === undefined || set === "")) return fallback
        if (set === undefined) {
          problems.push({
            path,
            rule: `the variable ${name} is not set, and there is no default: \${${name}:-default}`
          })
        }
        return set ?? ""
      })
    }
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]))
    if (typeof value !== "object" || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, walk(member, [...path, key])]))
  }
  return { tree: walk(tree, at), problems }
}
