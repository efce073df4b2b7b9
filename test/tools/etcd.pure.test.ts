import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { newestFirst, parseVersion } from "../../tools/etcd.ts"

describe("etcd versions", () => {
  it("parseVersion keeps the suffix of a pre-release", () => {
    assert.equal(parseVersion("etcd Version: 3.7.0-rc.1\nGit SHA: 5bca08e\nGo Version: go1.25.1"), "3.7.0-rc.1")
    assert.equal(parseVersion("etcd Version: 3.5.30\nGo Version: go1.24"), "3.5.30")
    assert.equal(parseVersion("no such file"), undefined)
  })

  it("newestFirst puts a release before its pre-releases, and compares numbers by value", () => {
    const versions = ["3.5.9", "3.7.0-rc.1", "3.4.23", "3.7.0", "3.7.0-alpha.2", "3.5.30"]
    assert.deepEqual(
      versions.map((version) => ({ version })).sort(newestFirst).map(({ version }) => version),
      ["3.7.0", "3.7.0-rc.1", "3.7.0-alpha.2", "3.5.30", "3.5.9", "3.4.23"]
    )
  })
})
