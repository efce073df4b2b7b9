// The negative control: clients with common mistakes must break exactly these rules.
import assert from "node:assert/strict"
import { it } from "node:test"
import { describe } from "../harness/it.ts"
import { caughtBy } from "./control.ts"
import { brokenBy } from "./Fault.ts"
import { declareFaults } from "./suite.ts"
import { type NaiveName, naiveNames } from "./Subject.ts"
import { faults } from "./table/mod.ts"

const always: Readonly<Record<NaiveName, ReadonlyArray<string>>> = {
  naive: [
    "F2 etcd is down at start for 1 s",
    "F3 etcd hangs at release, after a drain",
    "F14 a black hole in both directions for two times the TTL",
    "F16 keys are deleted",
    "F21 claimants of one id, exclusive, over a bad network"
  ],
  forgetful: ["F7 the data are wiped", "F9 compaction during a partition", "F17 leases are revoked"]
}

describe("control", () => {
  for (const name of naiveNames) {
    declareFaults(
      faults.filter(({ title }) => always[name].includes(title)),
      name,
      ({ title }) => `the ${name} client breaks the rules that control.ts lists under ${title}`,
      (outcome, { title }) => {
        const broken = brokenBy(outcome)
        assert.deepEqual(
          (caughtBy[name][title] ?? []).filter((rule) => !broken.includes(rule)),
          [],
          `broken: ${broken}`
        )
        assert.ok(broken.length > 0)
      }
    )

    it(`the ${name} client is listed in control.ts with faults and rules that exist`, () => {
      const titles = faults.map(({ title }) => title)
      assert.deepEqual(Object.keys(caughtBy[name]).filter((title) => !titles.includes(title)), [])
      assert.ok(always[name].every((title) => (caughtBy[name][title] ?? []).length > 0))
      assert.equal(new Set(titles).size, titles.length)
    })
  }
})
