import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { failureOf, readReport, showFailure } from "../../tools/junit.ts"

const counts = (xml: string) => {
  const { failures, known, passed, skipped } = readReport(xml)
  return { known, passed, failed: failures.length, skipped }
}

describe("readReport", () => {
  it("readReport counts passed, failed and skipped tests, and no suites that Deno writes as tests", () => {
    const xml = `<testsuites>
      <testcase name="group" classname="./a.test.ts"></testcase>
      <testcase name="group &gt; passes" classname="./a.test.ts"/>
      <testcase name="group &gt; fails"><failure message="no"/></testcase>
      <testcase name="group &gt; is skipped"><skipped/></testcase>
    </testsuites>`
    assert.deepEqual(counts(xml), { known: 3, passed: 1, failed: 1, skipped: 1 })
  })

  it("readReport counts errors as failures, and no files that Node writes as tests", () => {
    const xml = `<testcase name="passes"/><testcase name="crashes"><error/></testcase><testcase name="test/b.test.ts"/>`
    assert.deepEqual(counts(xml), { known: 2, passed: 1, failed: 1, skipped: 0 })
  })

  it("readReport counts tests whose names have a > that Node did not escape", () => {
    const xml = `<testsuite name="a > b"><testcase name="c > d" time="1"/><testcase name="e"/></testsuite>`
    assert.deepEqual(counts(xml), { known: 2, passed: 2, failed: 0, skipped: 0 })
  })

  it("readReport counts nothing in an empty report", () => {
    assert.deepEqual(counts(""), { known: 0, passed: 0, failed: 0, skipped: 0 })
  })

  it("readReport lists failures of Deno with the file that the outermost suite names", () => {
    const xml = `<testsuites name="deno test" tests="12">
      <testsuite name="./test/zz/other.test.ts" tests="1">
        <testcase name="group" classname="./test/zz/other.test.ts" time="0.006" line="3" col="1">
        </testcase>
      </testsuite>
      <testsuite name="./test/zz/a.test.ts" tests="2" failures="2">
        <testcase name="group" classname="./test/zz/a.test.ts" time="0.006" line="3" col="1">
          <failure message="1 test step failed">1 test step failed.</failure>
        </testcase>
        <testcase name="hook" classname="./test/zz/a.test.ts" time="0.001" line="11" col="1">
          <failure message="Uncaught Error: hook failed">Error: hook failed</failure>
        </testcase>
      </testsuite>
      <testsuite name="ext:deno_node/testing.ts" tests="3">
        <testcase name="group &gt; x" classname="ext:deno_node/testing.ts" time="0.005">
          <failure message="2 test steps failed">2 test steps failed.</failure>
        </testcase>
        <testcase name="group &gt; x &gt; fails &amp; &lt;b&gt;" classname="ext:deno_node/testing.ts" time="0.002">
          <failure message="Uncaught AssertionError: not equal:
+ actual
">AssertionError: not equal</failure>
        </testcase>
        <testcase name="hook &gt; passes" classname="ext:deno_node/testing.ts" time="0.000"></testcase>
      </testsuite>
      <testsuite name="./test/zz/c.test.ts" tests="1" errors="1">
        <testcase name="waits" classname="./test/zz/c.test.ts" time="0.000"><error message="Cancelled"/></testcase>
      </testsuite>
    </testsuites>`
    assert.deepEqual(readReport(xml).failures, [
      { file: "test/zz/a.test.ts", title: "hook", message: "Uncaught Error: hook failed" },
      {
        file: "test/zz/a.test.ts",
        title: "group > x > fails & <b>",
        message: "Uncaught AssertionError: not equal:\n+ actual\n"
      },
      { file: "test/zz/c.test.ts", title: "waits", message: "Cancelled" }
    ])
  })

  it("readReport lists failures of Node with their suites, and files that do not load", () => {
    const xml = `<testsuites>
      <testsuite name="group" time="0.004284"><testsuite name="inner > x" time="0.003767">
        <testcase name="fails &amp; &lt;b>" classname="group.inner > x" file="/home/me/test/zz/a.test.ts" failure="not">
          <failure type="testCodeFailure" message="not equal:&#10;+ actual">
[Error [ERR_TEST_FAILURE]: not equal]
          </failure>
        </testcase>
        <testcase name="passes" classname="group.inner > x" file="/home/me/test/zz/a.test.ts"/>
      </testsuite></testsuite>
      <testcase name="test/zz/b.test.ts" classname="test" file="/home/me/test/zz/b.test.ts" failure="test failed">
        <failure type="testCodeFailure" message="test failed">[Error: test failed]</failure>
      </testcase>
    </testsuites>`
    assert.deepEqual(readReport(xml).failures, [
      { file: "test/zz/a.test.ts", title: "group > inner > x > fails & <b>", message: "not equal:\n+ actual" },
      { file: "test/zz/b.test.ts", title: "test/zz/b.test.ts", message: "test failed" }
    ])
  })

  it("readReport lists failures of Bun with their suites, and processes that crash", () => {
    const xml = `<testsuites name="bun test">
      <testsuite name="test/zz/a.test.ts" file="test/zz/a.test.ts"><testsuite name="group" file="test/zz/a.test.ts">
        <testcase name="fails" classname="group" file="test/zz/a.test.ts" line="5">
          <failure type="AssertionError" message="it&apos;s wrong">AssertionError</failure>
        </testcase>
      </testsuite></testsuite>
      <testsuite name="test/zz/d.test.ts" file="test/zz/d.test.ts">
        <testcase name="(worker crashed)" classname="" file="test/zz/d.test.ts">
          <failure type="Error" message="worker process crashed before reporting results" />
        </testcase>
      </testsuite>
    </testsuites>`
    assert.deepEqual(readReport(xml).failures, [
      { file: "test/zz/a.test.ts", title: "group > fails", message: "it's wrong" },
      {
        file: "test/zz/d.test.ts",
        title: "(worker crashed)",
        message: "worker process crashed before reporting results"
      }
    ])
  })
})

describe("showFailure", () => {
  it("showFailure prints the file, the title and the first lines of the message", () => {
    const message = ["", ...Array.from({ length: 13 }, (_, index) => `line ${index}`)].join("\n")
    const lines = showFailure({ file: "test/a.test.ts", title: "group > fails", message }).split("\n")
    assert.deepEqual(lines.slice(0, 3), ["  test/a.test.ts", "  group > fails", "    line 0"])
    assert.deepEqual(lines.slice(-2), ["    line 11", "    …"])
    assert.equal(showFailure({ file: undefined, title: "outside", message: "no" }), "  outside\n    no")
  })
})

describe("failureOf", () => {
  it("failureOf takes the error that a runner printed, without colors", () => {
    const deno =
      'Check\n\x1b[0m\x1b[1m\x1b[31merror\x1b[0m: Module not found "file:///x.ts".\n    at file:///y.ts:1:8\n'
    assert.equal(failureOf(deno).message, 'error: Module not found "file:///x.ts".\n    at file:///y.ts:1:8')
    const bun = "(pass) a\n# Unhandled error between tests\n----\nerror: hook failed\n(pass) b"
    assert.match(failureOf(bun).message, /^# Unhandled error between tests\n----\nerror: hook failed/)
  })

  it("failureOf takes the last lines when no error stands out", () => {
    const output = Array.from({ length: 50 }, (_, index) => `line ${index}`).join("\n")
    assert.match(failureOf(output).message, /^line 38\n[\s\S]*line 49$/)
  })
})
