/**
 * Reads a declaration: text, tree, variables, shape. Finds all problems before anything is sent.
 *
 * This module is loaded on first use, so programs without declarations load no parser.
 *
 * @module
 */
import { Effect, Result, Schema, SchemaIssue } from "effect"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import type { Format } from "../internal/text/formats.ts"
import { showPath } from "../internal/text/paths.ts"
import { endpoint as checkEndpoint } from "../registry/model/Endpoint.ts"
import * as Keyspace from "../registry/model/Keyspace.ts"
import { plan } from "../registry/registration/RegisterOptions.ts"
import { advertise, advertised, processVariable } from "../registry/registration/advertise.ts"
import type { Declaration, Options, Source } from "./Declaration.ts"
import { type Locate, type Problem, readDocument } from "./document.ts"
import { textThat } from "./fields.ts"
import { isGoZero, isGoZeroWithoutEtcd, readGoZero, withoutEtcd } from "./goZero.ts"
import { type DeclarationProblem, InvalidDeclaration, problemText } from "./InvalidDeclaration.ts"
import { readOwnShape } from "./ownShape.ts"
import { type Decode, type Found, recordOf } from "./shape.ts"

const formats: Readonly<Record<string, Format>> = { yaml: "yaml", yml: "yaml", toml: "toml", json: "json" }

const unreadable = (source: string, rule: string): InvalidDeclaration =>
  new InvalidDeclaration({ source, problems: [{ path: "", rule, line: 0, column: 0 }] })

const load = Effect.fnUntraced(function* (
  source: Source
): Effect.fn.Return<{ readonly name: string; readonly text: string; readonly format: Format }, InvalidDeclaration> {
  if (typeof source !== "string" && !(source instanceof URL)) {
    const { format, name = "declaration", text } = source
    const isValid = typeof text === "string" && Object.values(formats).includes(format)
    return isValid ?
      { name, text, format } :
      yield* unreadable(name, "it must have a text, and the format json, yaml or toml")
  }
  const name = typeof source === "string" ? source : yield* Effect.try({
    try: () => fileURLToPath(source),
    // The URL may contain a password.
    catch: () => unreadable("declaration", "its URL must begin with file:///")
  })
  const format = formats[/\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ""]
  if (format === undefined) return yield* unreadable(name, "its name must end in .yaml, .yml, .toml or .json")
  const text = yield* Effect.tryPromise({
    try: (signal) => readFile(source, { encoding: "utf8", signal }),
    catch: (error) =>
      unreadable(name, `it is unreadable (${error instanceof Error && "code" in error ? error.code : error})`)
  })
  return { name, text, format }
})

/** Reads and checks a declaration. With `needsEtcd`, a missing `etcd` is a problem. */
export const readDeclaration = Effect.fnUntraced(function* (
  source: Source,
  options: Options,
  needsEtcd: boolean
): Effect.fn.Return<Declaration, InvalidDeclaration> {
  const { format, name, text } = yield* load(source)
  const invalid = (problems: ReadonlyArray<DeclarationProblem>) => new InvalidDeclaration({ source: name, problems })

  const { locate, tree } = yield* Effect.mapError(
    readDocument(format, text),
    (problem) => invalid([{ path: "", line: 0, column: 0, ...problem }])
  )
  const { parts, problems, warnings } = readTree(tree, options, needsEtcd)
  if (parts === undefined || problems.length > 0) return yield* invalid(located(problems, yield* locate))
  return {
    ...parts,
    services: parts.services.map(({ options, service }) => ({ service, options })),
    warnings: warnings.length === 0 ? [] : located(warnings, yield* locate).map((problem) => problemText(name, problem))
  }
})

/** Sorts by position and drops problems nested under an earlier one. */
const located = (problems: ReadonlyArray<Problem>, locate: Locate): ReadonlyArray<DeclarationProblem> => {
  const first = problems.filter(({ path }, index) =>
    !problems.slice(0, index).some((earlier) => earlier.path.every((part, position) => part === path[position]))
  )
  return first
    .map(({ path, rule }) => ({ path: showPath(path), rule, ...locate(path) ?? { line: 0, column: 0 } }))
    .sort((a, b) => a.line - b.line || a.column - b.column)
}

const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    if (issue._tag === "MissingKey") return "it is needed"
    if (issue._tag === "UnexpectedKey") return "there is no such setting"
    return SchemaIssue.defaultLeafHook(issue).replace(/^Expected object$/, "it must have members").replace(
      /^Expected array$/,
      "it must be a list"
    )
      .replace(/^Expected /, "it must be ")
  }
})

const decode: Decode = (schema, value, at, onExcessProperty) =>
  Result.mapError(
    Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty })(value),
    ({ issue }) =>
      issuesOf(issue).issues.map(({ message, path = [] }) => ({
        path: [...at, ...path.map((part) => typeof part === "number" ? part : String(part))],
        rule: message
      }))
  )

const readTree = (tree: unknown, options: Options, needsEtcd: boolean): Found => {
  const root = recordOf(tree)
  const failed = (problem: Problem): Found => ({ problems: [problem], warnings: [] })
  if (root !== tree) return failed({ path: [], rule: "it must have members, such as services or discover" })
  const isOwn = !isGoZero(root)
  if (isOwn && isGoZeroWithoutEtcd(root)) return failed(withoutEtcd)

  const variable = (name: string): string | undefined =>
    options.env === undefined ? processVariable(name) : options.env[name]
  let host: Result.Result<string, string> | undefined
  const findHost = () => host ??= advertised({ option: options.advertise, variable })
  const endpoint = textThat((text) => Result.flatMap(advertise(text, findHost), checkEndpoint))

  const found = (isOwn ? readOwnShape : readGoZero)(root, { decode, endpoint, variable })
  const problems = [
    ...found.problems,
    ...(needsEtcd && isOwn && !("etcd" in root) ? [{ path: ["etcd"], rule: "it is needed" }] : [])
  ]
  const { parts, warnings } = found
  if (parts === undefined || problems.length > 0) return { problems, warnings }

  const keyspace = Keyspace.make(parts.namespace ?? Keyspace.defaultNamespace)
  const services = parts.services.map(({ options: given, pathOf, service }) => {
    const check = options.health?.[service.name]
    const withHealth = check === undefined ? given : { ...given, health: check }
    // Rules that span several fields, such as the size of the value.
    if (Result.isSuccess(keyspace)) {
      const planned = plan(keyspace.success, service, withHealth)
      if (Result.isFailure(planned)) {
        problems.push({ path: pathOf(planned.failure.option), rule: planned.failure.rule })
      }
    }
    return { service, options: withHealth, pathOf }
  })
  return { problems, warnings, parts: { ...parts, services } }
}
