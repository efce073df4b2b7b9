/**
 * Values that `JSON.stringify` cannot write (a `bigint`, a cycle), made writable.
 *
 * @module
 */

const hasToJson = (value: object): value is { readonly toJSON: () => unknown } =>
  "toJSON" in value && typeof value.toJSON === "function"

/**
 * A copy of a value that `JSON.stringify` can write: a `bigint` is a decimal string, an error its name and message, and
 * an object inside of itself `"[circular]"`.
 */
export const jsonOf = (value: unknown): unknown => copy(value, [])

const copy = (value: unknown, holders: ReadonlyArray<object>): unknown => {
  if (typeof value === "bigint") return String(value)
  if (typeof value !== "object" || value === null) return value
  if (holders.includes(value)) return "[circular]"
  const inside = [...holders, value]
  if (hasToJson(value)) {
    const written = value.toJSON()
    return written === value ? String(value) : copy(written, inside)
  }
  if (Array.isArray(value)) return value.map((item) => copy(item, inside))
  if (value instanceof Error) return { name: value.name, message: value.message }
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, copy(member, inside)]))
}

/** Gives a plain value a `toJSON` that {@link jsonOf} writes. It is not enumerable, so comparisons do not see it. */
export const withJson = <A extends object>(value: A): A => Object.defineProperty(value, "toJSON", { value: toJson })

function toJson(this: object): unknown {
  return jsonOf({ ...this })
}
