import type { Check } from "./options.ts"

/** Checks the option `prefix`: the start of all keys of one store. The result ends with a slash. */
export const keyPrefix = (check: Check, value: string): string => {
  const isValid = check.text("prefix", value).isWellFormed() && /[^/]/.test(value)
  if (!isValid) return check.refuse("prefix", value, "it must be a text other than slashes, such as /orders/cache")
  return value.endsWith("/") ? value : `${value}/`
}
