import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { contentProblems } from "../../tools/package_content.ts"

const map = (content: ReadonlyArray<string | null>) => JSON.stringify({ sources: ["a.ts"], sourcesContent: content })
const whole = ["README.md", "LICENSE", "package.json", "dist/mod.js", "dist/mod.d.ts", "dist/mod.js.map"]

describe("contentProblems", () => {
  it("contentProblems accepts JavaScript, types, source maps with their sources, and documents", () => {
    assert.deepEqual(contentProblems([...whole, "docs/kv.md"], () => map(["export {}"])), [])
  })

  it("contentProblems reports repository files, tests, missing types and source maps without sources", () => {
    const files = [...whole, "bench/main.ts", "dist/a.test.js", "dist/a.test.d.ts", "dist/b.js", "docs/adr/0001-a.md"]
    assert.deepEqual(contentProblems(files, () => map([null])), [
      "bench/main.ts: does not belong there",
      "dist/a.test.js: is for this repository only",
      "dist/a.test.d.ts: is for this repository only",
      "docs/adr/0001-a.md: is for this repository only",
      "dist/b.js: has no dist/b.d.ts",
      "dist/mod.js.map: has no sources, so a debugger finds none"
    ])
  })
})
