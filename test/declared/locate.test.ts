import { Effect, Result } from "effect"
import assert from "node:assert/strict"
import { brokenJson, locator, type Path } from "../../src/declared/locate.ts"
import { type Format, parserOf } from "../../src/internal/text/formats.ts"
import { describe, effect } from "../harness/it.ts"

const parse = (format: Format, text: string) =>
  Effect.map(
    parserOf(format),
    (parse) => Result.getOrThrowWith(parse(text), ({ rule }) => new Error(`${rule}\n${text}`))
  )

/** Every path of a tree, with what stands there. */
const paths = (tree: unknown, path: Path = []): ReadonlyArray<readonly [Path, unknown]> => [
  ...(path.length === 0 ? [] : [[path, tree] as const]),
  ...(Array.isArray(tree) ?
    tree.flatMap((item, index) => paths(item, [...path, index])) :
    typeof tree === "object" && tree !== null ?
    Object.entries(tree).flatMap(([key, member]) => paths(member, [...path, key])) :
    [])
]

/**
 * All keys of the text are different, and so are all its values: a member is found where its key stands, an item where
 * its text or its first member does.
 */
const assertFound = (format: Format, text: string) =>
  Effect.gen(function* () {
    const tree = yield* parse(format, text)
    const locate = locator(format, text)
    const lines = text.split("\n")
    const all = paths(tree)
    assert.ok(all.length > 0)
    for (const [path, value] of all) {
      const { column, line } = locate(path)
      const rest = lines[line - 1]?.slice(column - 1) ?? ""
      const last = path.at(-1)
      const say = `${JSON.stringify(path)} is not at ${line}:${column} of\n${text}`
      if (typeof last === "string") {
        // A dotted key or the header of a table stands for all its parts.
        const dotted = format === "toml" ? String.raw`(?:\[*\s*(?:[\w"']+\s*\.\s*)*)` : ""
        assert.match(rest, new RegExp(`^${dotted}["']?${last}["']?`), say)
      } else if (typeof value !== "object" || value === null) {
        assert.match(rest, new RegExp(`^["']?${String(value).slice(0, 3)}`), say)
      } else {
        const [first] = paths(value)
        const starts = format === "toml" ? /^[[{]/ : /^[[{]|^-|^["']?k\d/
        assert.match(rest, starts, say)
        if (first !== undefined) assert.ok(locate([...path, ...first[0]]).line >= line, say)
      }
    }
  })

describe("locator", () => {
  effect(
    "finds members and items of YAML, in blocks and in brackets, past comments, quotes and long texts",
    () =>
      assertFound(
        "yaml",
        `# k1: not here
k1: 1 # k2: nor here
"k2": 'it''s: not k3: here'
k3:
  k4: "a \\" b: c"
  # a comment

  k5:
  - v1
  - k6: v2
    k7:
      - k8: v3
      -   k9: v4
          k10: v5
    k11: &anchor
      k12: v6
  - v7 # k13: no
  -
    k14: v8
k15: |
  k16: text
   - text

  k17: text
k18: >-
    k19: text
k20: { k21: v9, "k22": [v10, v11,
    v12, { k23: v13 }], # k24: no
  k25: 'v14, k26: no' }
k27: [ ]
k28: plain over
  two lines
k29: "quoted over
  two lines k30: no"
k31: http://host:80/#fragment
'k32' : v15
k33:
- v16
- k34: v17
  k35:
  - v18
k36: v19
`
      )
  )

  effect("finds members and items of TOML, in tables, lists of tables and brackets", () =>
    assertFound(
      "toml",
      `# k1 = "not here"
k1 = 1 # k2 = 2
k2 = "a \\" k3 = 3"
k3 = '''
k4 = "text"
'''
k5 = ["v1", 'v2', # k6 = 1
  "v3", { k7 = "v4", k8 = ["v5"] } ]
"k9" = "v6"
k10.k11 = "v7"
k10.k12.k13 = "v8"

[k14]
k15 = 2026-01-01T00:00:00Z
  [k14.k16."k17"]
  k18 = """v9
[k19]"""

[[k20]]
k21 = "v10"
[[k20]]
k22 = 7_000
  [k20.k23]
  k24 = true
  [[k20.k25]]
  k26 = "v11"
  [[k20.k25]]
  k27 = { k28 = "v12" }
`
    ))

  effect("finds members and items of JSON", () =>
    assertFound(
      "json",
      `{
  "k1": 1, "k2": ["v1", {"k3": null,
    "k4": [[2, 3], []]}],
  "k5": {
    "k6": "a \\" k7: {", "k8": {}
  }
}
`
    ))

  effect("finds everything in documents by chance, in each format", () =>
    Effect.gen(function* () {
      const seed = Math.floor(Math.random() * 2 ** 31)
      let state = seed
      /** Below n; the generator of Lehmer (Park and Miller, "Random number generators", CACM 1988). */
      const below = (n: number) => {
        state = state * 48271 % 2147483647
        return state % n
      }
      let names = 0
      const scalar = () => `v${++names}x`
      const key = () => `k${++names}x`
      const tree = (depth: number): unknown => {
        const kind = depth === 4 ? 2 : depth === 0 ? 0 : below(4)
        if (kind === 3) return Array.from({ length: 1 + below(3) }, () => tree(depth - 1))
        if (kind === 2) {
          return Object.fromEntries(Array.from({ length: 1 + below(4) }, () => [key(), tree(depth - 1)]))
        }
        return scalar()
      }
      const flow = (value: unknown, equals: string): string =>
        Array.isArray(value) ?
          `[ ${value.map((item) => flow(item, equals)).join(", ")} ]` :
          typeof value === "object" && value !== null ?
          `{ ${Object.entries(value).map(([k, v]) => `${k}${equals}${flow(v, equals)}`).join(", ")} }` :
          `"${value}"`
      const yaml = (value: unknown, indent: string): string => {
        if (typeof value !== "object" || value === null) return ` ${below(2) === 0 ? value : `"${value}"`}\n`
        if (below(6) === 0) return ` ${flow(value, ": ")}\n`
        if (!Array.isArray(value)) {
          return `\n${Object.entries(value).map(([k, v]) => `${indent}${k}:${yaml(v, `${indent}  `)}`).join("")}`
        }
        return `\n${
          value.map((item) => {
            const block = yaml(item, `${indent}  `)
            // A record may begin on the line of its dash.
            const isCompact = block.startsWith("\n") && !Array.isArray(item) && below(2) === 0
            return `${indent}-${isCompact ? ` ${block.slice(1).trimStart()}` : block}`
          }).join("")
        }`
      }
      const toml = (value: Record<string, unknown>, path: ReadonlyArray<string>): string => {
        const isTable = (v: unknown): v is Record<string, unknown> =>
          typeof v === "object" && v !== null && !Array.isArray(v)
        const isTables = (v: unknown) => Array.isArray(v) && v.length > 0 && v.every(isTable)
        const members = Object.entries(value)
        const inline = members.filter(([, v]) => !isTable(v) && !isTables(v))
        return inline.map(([k, v]) => `${k} = ${flow(v, " = ")}\n`).join("") +
          members.map(([k, v]) => {
            const at = [...path, k]
            if (isTable(v)) return `\n[${at.join(".")}]\n${toml(v, at)}`
            if (!isTables(v)) return ""
            return (v as ReadonlyArray<Record<string, unknown>>).map((item) =>
              `\n[[${at.join(".")}]]\n${toml(item, at)}`
            )
              .join("")
          }).join("")
      }
      console.log(`seed ${seed}`)
      for (let round = 0; round < 60; round++) {
        const document = tree(4) as Record<string, unknown>
        yield* assertFound("json", JSON.stringify(document, null, below(2) * 2))
        yield* assertFound("yaml", yaml(document, "").replace(/^\n/, "").trimStart())
        yield* assertFound("toml", toml(document, []))
      }
    }))

  effect("answers with what a path belongs to where it is not in the text", () =>
    Effect.sync(() => {
      const locate = locator("yaml", "a: &x\n  b: 1\nc:\n  - *x\n")
      assert.deepEqual(locate(["c", 0, "b"]), { line: 4, column: 5 })
      assert.deepEqual(locate(["missing"]), { line: 1, column: 1 })
    }))
})

describe("brokenJson", () => {
  for (
    const [text, line, column] of [
      [`{\n  "a": hunter2\n}`, 2, 8],
      [`{"a": 1,\n "b" 2}`, 2, 6],
      [`{"a": [1, 2,]}`, 1, 13],
      [`{"a": 1`, 1, 8],
      [`{a: 1}`, 1, 2],
      [`{"a": 1} x`, 1, 10],
      [``, 1, 1]
    ] as const
  ) {
    effect(
      `finds where ${JSON.stringify(text)} stops being JSON`,
      () => Effect.sync(() => assert.deepEqual(brokenJson(text), { line, column }))
    )
  }
})
