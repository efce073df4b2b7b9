/**
 * Reading a declaration: text, tree, variables, shape. Everything that is wrong is found before anything is sent.
 *
 * Loaded by whoever reads one: the parsers of the formats and `node:os` are no part of a program that does not.
 *
 * @module
 */
import { Effect, Result, Schema, SchemaIssue } from "effect"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { type Format, parserOf } from "../internal/text/formats.ts"
import { showPath } from "../internal/text/paths.ts"
import { endpoint as checkEndpoint } from "../registry/model/Endpoint.ts"
import * as Keyspace from "../registry/model/Keyspace.ts"
import { plan } from "../registry/registration/RegisterOptions.ts"
import { advertise, advertised, processVariable } from "../registry/registration/advertise.ts"
import type { Declaration, Options, Source } from "./Declaration.ts"
import { expand, type Problem } from "./environment.ts"
import { textThat } from "./fields.ts"
import { goZeroShape, isGoZero } from "./goZeroShape.ts"
import { type DeclarationProblem, InvalidDeclaration } from "./InvalidDeclaration.ts"
import { brokenJson, type Locate, locator } from "./locate.ts"
import { ownShape } from "./ownShape.ts"
import { serviceFor } from "./serviceFor.ts"
import { type Decode, recordOf } from "./shape.ts"

const formats: Readonly<Record<string, Format>> = { yaml: "yaml", yml: "yaml", toml: "toml", json: "json" }

const load = Effect.fnUntraced(function* (
  source: Source
): Effect.fn.Return<{ readonly name: string; readonly text: string; readonly format: Format }, InvalidDeclaration> {
  if (typeof source !== "string" && !(source instanceof URL)) return { name: "declaration", ...source }
  const name = typeof source === "string" ? source : fileURLToPath(source)
  const unreadable = (rule: string) =>
    new InvalidDeclaration({ source: name, problems: [{ path: "", rule, line: 0, column: 0 }] })
  const format = formats[/\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ""]
  if (format === undefined) return yield* unreadable("its name must end in .yaml, .yml, .toml or .json")
  const text = yield* Effect.tryPromise({
    try: (signal) => readFile(source, { encoding: "utf8", signal }),
    catch: (error) =>
      unreadable(`it cannot be read (${error instanceof Error && "code" in error ? error.code : error})`)
  })
  return { name, text, format }
})

/** Reads and checks a declaration. With `needsEtcd` one without `etcd` is wrong. */
export const readDeclaration = Effect.fnUntraced(function* (
  source: Source,
  options: Options,
  needsEtcd: boolean
): Effect.fn.Return<Declaration, InvalidDeclaration> {
  const { format, name, text } = yield* load(source)
  const parse = yield* parserOf(format)
  const invalid = (problems: ReadonlyArray<DeclarationProblem>) => new InvalidDeclaration({ source: name, problems })

  const parsed = parse(text.replace(/^\uFEFF/, ""))
  if (Result.isFailure(parsed)) {
    const { rule, ...known } = parsed.failure
    const position = format === "json" ? brokenJson(text) : { line: 1, column: 1, ...known }
    return yield* invalid([{ path: "", rule, ...position }])
  }

  const variable = (name: string): string | undefined =>
    options.env === undefined ? processVariable(name) : options.env[name]
  const { problems: unset, tree } = expand(parsed.success, variable)
  const read = readTree(tree, options, variable, needsEtcd)
  const problems = [...unset, ...(Result.isFailure(read) ? read.failure : [])]
  if (Result.isSuccess(read) && problems.length === 0) return read.success
  return yield* invalid(located(problems, locator(format, text)))
})

/** In the order of the text, the first of each place: what follows from another problem there says nothing new. */
const located = (problems: ReadonlyArray<Problem>, locate: Locate): ReadonlyArray<DeclarationProblem> => {
  const first = problems.filter(({ path }, index) =>
    !problems.slice(0, index).some((earlier) => earlier.path.every((part, position) => part === path[position]))
  )
  return first
    .map(({ path, rule }) => ({ path: showPath(path), rule, ...locate(path) }))
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

const readTree = (
  tree: unknown,
  { advertise: advertiseOption, health = {} }: Options,
  variable: (name: string) => string | undefined,
  needsEtcd: boolean
): Result.Result<Declaration, ReadonlyArray<Problem>> => {
  const root = recordOf(tree)
  if (root !== tree) return Result.fail([{ path: [], rule: "it must have members, such as services or discover" }])
  const shape = isGoZero(root) ? goZeroShape : ownShape
  let host: Result.Result<string, string> | undefined
  const findHost = () => host ??= advertised({ option: advertiseOption, variable })
  const endpoint = textThat((text) => Result.flatMap(advertise(text, findHost), checkEndpoint))

  const read = shape.read(root, endpoint, decode)
  const problems: Array<Problem> = [
    ...(Result.isFailure(read) ? read.failure : []),
    ...shape.problems(root),
    ...(needsEtcd && shape === ownShape && !("etcd" in root) ? [{ path: ["etcd"], rule: "it is needed" }] : [])
  ]
  if (Result.isFailure(read) || problems.length > 0) return Result.fail(problems)

  const keyspace = Keyspace.make(read.success.namespace ?? Keyspace.defaultNamespace)
  const services = read.success.services.map(({ name, options }, index) => {
    const check = health[name]
    const service = serviceFor(name, shape.layout)
    const withHealth = check === undefined ? options : { ...options, health: check }
    // What no field shows, such as a value that is too large.
    if (Result.isSuccess(keyspace)) {
      const planned = plan(keyspace.success, service, withHealth)
      if (Result.isFailure(planned)) {
        const path = shape === ownShape ? ["services", index, planned.failure.option] : ["Etcd"]
        problems.push({ path, rule: planned.failure.rule })
      }
    }
    return { service, options: withHealth }
  })
  return problems.length > 0 ? Result.fail(problems) : Result.succeed({
    ...read.success,
    services,
    discover: read.success.discover.map((name) => serviceFor(name, shape.layout))
  })
}
