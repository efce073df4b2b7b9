/** A path in a tree, such as `services[0].endpoints[1]`; empty for the root. */
export const showPath = (path: Iterable<PropertyKey | { readonly key: PropertyKey }>): string => {
  let shown = ""
  for (const part of path) {
    const key = typeof part === "object" ? part.key : part
    if (typeof key === "number") shown += `[${key}]`
    else if (/^[\w-]+$/.test(String(key))) shown += shown === "" ? String(key) : `.${String(key)}`
    else shown += `[${JSON.stringify(String(key))}]`
  }
  return shown
}
