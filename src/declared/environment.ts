/**
 * `${NAME}` and `${NAME:-default}` in the texts of a tree.
 *
 * They are replaced after parsing, so what a variable holds is never taken for syntax, and no line moves.
 *
 * @module
 */
import type { Path } from "./locate.ts"

/** Something that is wrong at a path. */
export interface Problem {
  readonly path: Path
  readonly rule: string
}

const reference = /\$\$(?=\{)|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?/g

/** The tree with its variables replaced; a default stands for a variable that is not set or empty. `$${` is `${`. */
export const expand = (
  tree: unknown,
  variable: (name: string) => string | undefined
): { readonly tree: unknown; readonly problems: ReadonlyArray<Problem> } => {
  const problems: Array<Problem> = []
  const walk = (value: unknown, path: Path): unknown => {
    if (typeof value === "string") {
      return value.replace(reference, (found: string, name?: string, fallback?: string) => {
        if (found === "$$") return "$"
        if (name === undefined) {
          problems.push({
            path,
            rule: "a variable is ${NAME} or ${NAME:-default}, without others in it; ${ itself is $${"
          })
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
  return { tree: walk(tree, []), problems }
}
