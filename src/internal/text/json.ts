/**
 * Parses JSON as RFC 8259 defines it, on every runtime.
 *
 * `JSON.parse` of V8 returns wrong keys (nodejs/node #63785; Node 23.0 to 24.21, 25, 26.0 to 26.10, Deno 2.9.3): once a
 * text had a key `\`, a key that begins with an escape is read as `\` in a later text of the same shape. So a value from
 * one process changes how the value of another is read. Only texts with a backslash are affected, and each wrong key
 * contains one: if a result has such a key, the text is read again by {@link read}, which never uses `JSON.parse` for an
 * object.
 *
 * @module
 */

/** Parses a text. Throws a `SyntaxError` if it is not JSON. */
export const parseJson = (text: string): unknown => {
  const value: unknown = JSON.parse(text)
  return text.includes("\\") && hasBackslashKey(value) ? read(text) : value
}

const hasBackslashKey = (root: unknown): boolean => {
  const open: Array<unknown> = [root]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== "object" || value === null) continue
    if (Array.isArray(value)) {
      for (const item of value) open.push(item)
      continue
    }
    for (const [key, member] of Object.entries(value)) {
      if (key.includes("\\")) return true
      open.push(member)
    }
  }
  return false
}

/** A container that is being read. Members of an object wait for their end, since the last of equal names counts. */
type Open =
  | { readonly items: Array<unknown> }
  | { readonly members: Map<string, unknown>; key: string }

const whitespace = /[ \t\n\r]*/y
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// deno-lint-ignore no-control-regex -- RFC 8259 forbids them in strings
const control = /[\u0000-\u001f]/

const literals: ReadonlyArray<readonly [text: string, value: unknown]> = [
  ["true", true],
  ["false", false],
  ["null", null]
]

/** A strict reader of RFC 8259, without recursion. Throws a `SyntaxError` if the text is not JSON. */
export const read = (text: string): unknown => {
  const open: Array<Open> = []
  let at = 0

  const fail = (): never => {
    throw new SyntaxError(`not JSON at position ${at}`)
  }
  const match = (pattern: RegExp): string => {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0] ?? ""
    at += found.length
    return found
  }
  /** Skips whitespace and then `character`, if that comes next. */
  const skip = (character: string): boolean => {
    match(whitespace)
    const isNext = text[at] === character
    if (isNext) at += 1
    return isNext
  }
  const readString = (): string => {
    const start = at
    if (text[at] !== '"') return fail()
    let end = at + 1
    while (text[end] !== '"') {
      if (end >= text.length) return fail()
      end += text[end] === "\\" ? 2 : 1
    }
    at = end + 1
    const literal = text.slice(start, at)
    if (!literal.includes("\\")) return control.test(literal) ? fail() : literal.slice(1, -1)
    // A string alone has no keys, so `JSON.parse` reads it correctly. It checks the escapes.
    const value: unknown = JSON.parse(literal)
    return typeof value === "string" ? value : fail()
  }
  const readKey = (): string => {
    match(whitespace)
    const key = readString()
    return skip(":") ? key : fail()
  }
  const readScalar = (): unknown => {
    if (text[at] === '"') return readString()
    const literal = literals.find(([literal]) => text.startsWith(literal, at))
    if (literal === undefined) {
      const digits = match(number)
      return digits === "" ? fail() : Number(digits)
    }
    at += literal[0].length
    return literal[1]
  }

  while (true) {
    match(whitespace)
    let value: unknown
    if (skip("[")) {
      if (!skip("]")) {
        open.push({ items: [] })
        continue
      }
      value = []
    } else if (skip("{")) {
      if (!skip("}")) {
        open.push({ members: new Map(), key: readKey() })
        continue
      }
      value = {}
    } else {
      value = readScalar()
    }
    // A value is complete: it belongs to the container around it, which may be complete, too.
    while (true) {
      const around = open.at(-1)
      if (around === undefined) {
        match(whitespace)
        return at === text.length ? value : fail()
      }
      if ("items" in around) {
        around.items.push(value)
        if (skip(",")) break
        if (!skip("]")) return fail()
        value = around.items
      } else {
        around.members.set(around.key, value)
        if (skip(",")) {
          around.key = readKey()
          break
        }
        if (!skip("}")) return fail()
        // Not by assignment: `__proto__` is a name like any other.
        value = Object.fromEntries(around.members)
      }
      open.pop()
    }
  }
}
