/**
 * Changes one member in the text of a JSON object. Every other character stays as it is.
 *
 * @module
 */
import { parseJson } from "./json.ts"

/** The names that lead to a member. */
export type Path = readonly [string, ...ReadonlyArray<string>]

interface Member {
  readonly name: string
  readonly start: number
  readonly end: number
}

/** An object in a text: its members, and where its closing brace is. */
interface ObjectText {
  readonly members: ReadonlyArray<Member>
  readonly close: number
}

const whitespace = /\s*/y
const string = /"(?:[^"\\]|\\.)*"/y
const scalar = /[^,\]}\s]+/y

/** Where a pattern that matches at a position ends. */
const endOf = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : at
}

/** Where the value that starts at a position ends. */
const endOfValue = (text: string, start: number): number => {
  let at = start
  let depth = 0
  do {
    const character = text[at]
    if (character === '"') at = endOf(string, text, at)
    else if (character === "{" || character === "[") {
      depth += 1
      at += 1
    } else if (character === "}" || character === "]") {
      depth -= 1
      at += 1
    } else at = depth === 0 ? endOf(scalar, text, at) : at + 1
  } while (depth > 0)
  return at
}

/** The object that starts at a position. The text is JSON. */
const objectAt = (text: string, open: number): ObjectText => {
  const members: Array<Member> = []
  let at = endOf(whitespace, text, open + 1)
  while (text[at] !== "}") {
    const name: unknown = JSON.parse(text.slice(at, at = endOf(string, text, at)))
    const start = endOf(whitespace, text, endOf(whitespace, text, at) + 1)
    const end = endOfValue(text, start)
    members.push({ name: String(name), start, end })
    at = endOf(whitespace, text, end)
    if (text[at] === ",") at = endOf(whitespace, text, at + 1)
  }
  return { members, close: at }
}

/**
 * Sets the member at a path. A member that does not exist is added at the end of its object, and so are the objects on
 * the way. If a name occurs twice, the last counts, as in `JSON.parse`. Throws a `SyntaxError` if the text is not a JSON
 * object.
 */
export const setMember = (text: string, path: Path, value: unknown): string => {
  const root = parseJson(text)
  const open = endOf(whitespace, text, 0)
  if (text[open] !== "{" || typeof root !== "object") throw new SyntaxError("not a JSON object")
  return setIn(text, open, path, value)
}

const setIn = (text: string, open: number, [name, ...rest]: Path, value: unknown): string => {
  const { close, members } = objectAt(text, open)
  const found = members.findLast((member) => member.name === name)
  const [next, ...others] = rest
  if (found === undefined) {
    const added = rest.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
    const end = members.at(-1)?.end ?? open + 1
    const comma = members.length === 0 ? "" : ","
    return `${text.slice(0, end)}${comma}${JSON.stringify(name)}:${JSON.stringify(added)}${
      text.slice(members.length === 0 ? close : end)
    }`
  }
  if (next !== undefined && text[found.start] === "{") return setIn(text, found.start, [next, ...others], value)
  const written = rest.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
  return `${text.slice(0, found.start)}${JSON.stringify(written)}${text.slice(found.end)}`
}
