/**
 * Reads JUnit reports of Deno, Bun and Node: counts the tests and lists the failures uniformly.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util"

/** A failed test, or a file, hook or suite that failed by itself. */
export interface Failure {
  /** The test file, if the report names it. */
  readonly file: string | undefined
  /** The names of the suites and of the test, joined by ` > `. */
  readonly title: string
  readonly message: string
}

export interface Report {
  /** Tests in the report. */
  readonly known: number
  readonly passed: number
  readonly skipped: number
  readonly failures: ReadonlyArray<Failure>
}

interface Case {
  /** The names of the suites around it, as elements of the report. */
  readonly suites: ReadonlyArray<string>
  readonly name: string
  readonly file: string | undefined
  /** The text of the failure or error. */
  readonly message: string | undefined
  readonly isSkipped: boolean
}

const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" }

const unescape = (text: string): string =>
  text.replace(
    /&(?:#(\d+)|(\w+));/g,
    (all, code?: string, name = "") => code === undefined ? entities[name] ?? all : String.fromCodePoint(Number(code))
  )

const attribute = (text: string, name: string): string | undefined => {
  const value = new RegExp(`\\s${name}="([^"]*)"`).exec(text)?.[1]
  return value === undefined ? undefined : unescape(value)
}

// Node does not escape ">" in attributes.
const attributes = /((?:\s+[\w:-]+="[^"]*")*)/.source
const elements = new RegExp(
  `<testsuite${attributes}\\s*(/?)>|(</testsuite>)|<testcase${attributes}\\s*(?:/>|>([\\s\\S]*?)</testcase>)`,
  "g"
)
const failure = new RegExp(`<(?:failure|error)${attributes}`)

const testFile = (text: string | undefined): string | undefined => /\btest\/.*\.test\.ts$/.exec(text ?? "")?.[0]

const casesOf = (xml: string): ReadonlyArray<Case> => {
  const suites: Array<string> = []
  const cases: Array<Case> = []
  for (const [, suite, isEmpty, end, testcase, body = ""] of xml.matchAll(elements)) {
    if (end !== undefined) suites.pop()
    else if (suite !== undefined && isEmpty === "") suites.push(attribute(suite, "name") ?? "")
    else if (testcase !== undefined) {
      const failed = failure.exec(body)?.[1]
      cases.push({
        // Deno's and Bun's outermost suites are files.
        suites: suites.filter((name) => !name.endsWith(".ts")),
        name: attribute(testcase, "name") ?? "",
        file: testFile(attribute(testcase, "file")) ?? testFile(attribute(testcase, "classname")),
        message: failed === undefined ? undefined : attribute(failed, "message") ?? "",
        isSkipped: body.includes("<skipped")
      })
    }
  }
  return cases
}

/**
 * Reads a report.
 *
 * **Details**
 *
 * Deno also writes suites as test cases, named `suite > suite > test`, and only the outermost ones name their file.
 * Node writes a file that fails by itself as a test case. Neither counts as a test. A suite that fails only because of
 * its tests is not counted as a failure of its own.
 */
export const readReport = (xml: string): Report => {
  const cases = casesOf(xml)
  const suites = new Set(cases.flatMap(({ name }) => {
    const parts = name.split(" > ")
    return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" > "))
  }))
  const tests = cases.filter(({ name }) => !suites.has(name) && !name.endsWith(".test.ts"))
  const failed = cases.filter(({ message }) => message !== undefined && !/^\d+ test steps? failed/.test(message))
  const fileOf = ({ file, name }: Case): string | undefined =>
    file ?? cases.find((each) => each.message !== undefined && name.startsWith(`${each.name} > `))?.file
  return {
    known: tests.length,
    passed: tests.filter(({ isSkipped, message }) => !isSkipped && message === undefined).length,
    skipped: tests.filter(({ isSkipped }) => isSkipped).length,
    failures: failed.map((each) => ({
      file: fileOf(each),
      title: [...each.suites, each.name].join(" > "),
      message: each.message ?? ""
    }))
  }
}

/** The first lines of a message, for display. */
const shownLines = 12

/** A failure as text: place, title, and the beginning of the message. */
export const showFailure = ({ file, message, title }: Failure): string => {
  const lines = message.split("\n").filter((line) => line.trim() !== "")
  const shown = lines.slice(0, shownLines).map((line) => `    ${line}`)
  return [
    ...(file === undefined || file === title ? [] : [`  ${file}`]),
    `  ${title}`,
    ...shown,
    ...(lines.length > shownLines ? ["    …"] : [])
  ].join("\n")
}

/**
 * The output of a run about a failure that is missing in its report, such as a file that does not load.
 *
 * The runners print such errors where they occur, except Node, which repeats them at the end.
 */
export const failureOf = (output: string): Failure => {
  const lines = stripVTControlCharacters(output).trimEnd().split("\n")
  const start = lines.findIndex((line) => /^(?:# Unhandled error|error\b|✖ failing tests)/.test(line))
  return {
    file: undefined,
    title: "outside of any test",
    message: (start < 0 ? lines.slice(-shownLines) : lines.slice(start)).join("\n")
  }
}
