import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { countTests } from "../../tools/junit.ts"

describe("countTests", () => {
  it("counts passed, failed and skipped tests, and no suites that Deno writes as tests", () => {
    const xml = `<testsuites>
      <testcase name="group" classname="./a.test.ts"></testcase>
      <testcase name="group &gt; passes" classname="./a.test.ts"/>
      <testcase name="group &gt; fails"><failure message="no"/></testcase>
      <testcase name="group &gt; is skipped"><skipped/></testcase>
    </testsuites>`
    assert.deepEqual(countTests(xml), { known: 3, passed: 1, failed: 1, skipped: 1 })
  })

  it("counts errors as failures, and no files that Node writes as tests", () => {
    const xml = `<testcase name="passes"/><testcase name="crashes"><error/></testcase><testcase name="test/b.test.ts"/>`
    assert.deepEqual(countTests(xml), { known: 2, passed: 1, failed: 1, skipped: 0 })
  })

  it("counts nothing in an empty report", () => {
    assert.deepEqual(countTests(""), { known: 0, passed: 0, failed: 0, skipped: 0 })
  })
})
