// The negative control: a client that is often written this way must turn these red, for just these reasons.
import assert from "node:assert/strict"
import { it } from "node:test"
import { describe } from "../harness/it.ts"
import { caughtBy } from "./control.ts"
import { brokenBy } from "./Fault.ts"
import { declareFaults } from "./suite.ts"
import { faults } from "./table/mod.ts"

const always = [
  "F2 etcd is down at start for 1 s",
  "F3 etcd hangs at release, after a drain",
  "F14 a black hole in both directions for two times the TTL",
  "F16 keys are deleted",
  "F21 claimants of one id, exclusive, over a bad network"
]

describe("a naive client", () => {
  declareFaults(
    faults.filter(({ title }) => always.includes(title)),
    "naive",
    ({ title }) => `is found out by ${title}`,
    (outcome, { title }) => {
      const broken = brokenBy(outcome)
      assert.deepEqual((caughtBy[title] ?? []).filter((rule) => !broken.includes(rule)), [], `broken: ${broken}`)
      assert.ok(broken.length > 0)
    }
  )

  it("is in the list with faults and rules that exist", () => {
    const titles = faults.map(({ title }) => title)
    assert.deepEqual(Object.keys(caughtBy).filter((title) => !titles.includes(title)), [])
    assert.ok(always.every((title) => (caughtBy[title] ?? []).length > 0))
    assert.equal(new Set(titles).size, titles.length)
  })
})
