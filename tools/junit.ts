/**
 * Counts the tests of a JUnit report, the same way for the reports of Deno, Bun and Node.
 *
 * @module
 */

export interface Counts {
  /** Tests in the report. */
  readonly known: number
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Counts the leaves of a report: Deno also writes suites as test cases, and Node files without tests. */
export const countTests = (xml: string): Counts => {
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)]
    .map(([, attributes = "", body = ""]) => ({ name: /\bname="([^"]*)"/.exec(attributes)?.[1] ?? "", body }))
  const suites = new Set(cases.flatMap(({ name }) => {
    const parts = name.split(" &gt; ")
    return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" &gt; "))
  }))
  const leaves = cases.filter(({ name }) => !suites.has(name) && !name.endsWith(".test.ts"))
  const failed = leaves.filter(({ body }) => /<(?:failure|error)\b/.test(body)).length
  const skipped = leaves.filter(({ body }) => /<skipped\b/.test(body)).length
  return { known: leaves.length, passed: leaves.length - failed - skipped, failed, skipped }
}
