import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { runsOf, type Scope } from "../../tools/matrix.ts"

const versions = ["3.5.30", "3.5.16", "3.4.23"]
const older = "3.5.16 3.4.23"
const all = versions.join(" ")

/** `runtime: versions` of each run of one file. */
const runs = (file: string, scope: Scope) =>
  runsOf([file], scope, versions).map(({ runtime, versions }) => `${runtime}: ${versions.join(" ")}`)

describe("runsOf", () => {
  it("runsOf runs a file that matches no row on Node every day, and on every runtime with --rest", () => {
    const file = "test/something/new.test.ts"
    assert.deepEqual(runs(file, "everyday"), ["node: 3.5.30"])
    assert.deepEqual(runs(file, "all"), ["deno: 3.5.30", "bun: 3.5.30", `node: ${all}`])
    assert.deepEqual(runs(file, "rest"), ["deno: 3.5.30", "bun: 3.5.30", `node: ${older}`])
  })

  it("runsOf runs conformance tests on every runtime, and against older etcds on Node", () => {
    for (const file of ["test/etcd/conformance/EtcdGrpc.test.ts", "test/etcd/memory/model.test.ts"]) {
      assert.deepEqual(runs(file, "everyday"), ["deno: 3.5.30", "bun: 3.5.30", `node: ${all}`])
      assert.deepEqual(runs(file, "rest"), [`deno: ${older}`, `bun: ${older}`])
    }
  })

  it("runsOf runs key-value operations on Node, and on every runtime and etcd with --rest", () => {
    assert.deepEqual(runs("test/kv/kv.test.ts", "everyday"), ["node: 3.5.30"])
    assert.deepEqual(runs("test/kv/kv.test.ts", "rest"), [`deno: ${all}`, `bun: ${all}`, `node: ${older}`])
  })

  it("runsOf runs pure and virtual files on Node, and on the other runtimes with --rest", () => {
    for (const file of ["test/kv/types.pure.test.ts", "test/http/x.virtual.test.ts"]) {
      assert.deepEqual(runs(file, "everyday"), ["node: 3.5.30"])
      assert.deepEqual(runs(file, "rest"), ["deno: 3.5.30", "bun: 3.5.30"])
    }
  })

  it("runsOf runs platform tests on every runtime against the newest etcd", () => {
    for (const file of ["test/etcd/grpc/tls.test.ts", "test/registry/process.test.ts", "test/http/service.test.ts"]) {
      assert.deepEqual(runs(file, "everyday"), ["deno: 3.5.30", "bun: 3.5.30", "node: 3.5.30"])
      assert.deepEqual(runs(file, "rest"), [`node: ${older}`])
    }
  })

  it("runsOf runs the harness on Node, and on the other runtimes with --rest", () => {
    assert.deepEqual(runs("test/harness/harness.test.ts", "everyday"), ["node: 3.5.30"])
    assert.deepEqual(runs("test/harness/harness.test.ts", "rest"), ["deno: 3.5.30", "bun: 3.5.30"])
  })

  it("runsOf runs the sample of the faults only in test:all", () => {
    assert.deepEqual(runs("test/faults/faults.test.ts", "everyday"), [])
    assert.deepEqual(runs("test/faults/faults.test.ts", "all"), ["node: 3.5.30"])
    assert.deepEqual(runs("test/faults/faults.test.ts", "rest"), [])
  })

  it("runsOf runs system tests on every runtime in test:all, on Node with --rest, and not every day", () => {
    assert.deepEqual(runs("test/cli/x.system.test.ts", "everyday"), [])
    assert.deepEqual(runs("test/cli/x.system.test.ts", "all"), ["deno: 3.5.30", "bun: 3.5.30", "node: 3.5.30"])
    assert.deepEqual(runs("test/cli/x.system.test.ts", "rest"), ["node: 3.5.30"])
  })

  it("runsOf runs browser tests on Node only", () => {
    assert.deepEqual(runs("test/console/x.system.test.ts", "everyday"), [])
    assert.deepEqual(runs("test/console/x.system.test.ts", "rest"), ["node: 3.5.30"])
  })

  it("runsOf runs the demo on Deno every day", () => {
    assert.deepEqual(runs("test/examples/demo.test.ts", "everyday"), ["deno: 3.5.30"])
    assert.deepEqual(runs("test/examples/demo.test.ts", "rest"), ["bun: 3.5.30", "node: 3.5.30"])
  })

  it("runsOf runs bundles only in test:all", () => {
    assert.deepEqual(runs("test/bundles/esbuild.test.ts", "everyday"), [])
    assert.deepEqual(runs("test/bundles/esbuild.test.ts", "rest"), ["node: 3.5.30"])
  })

  it("runsOf groups files with the same versions into one run of a runtime", () => {
    const files = ["test/etcd/memory/a.test.ts", "test/etcd/memory/b.test.ts", "test/c.pure.test.ts"]
    assert.deepEqual(
      runsOf(files, "everyday", versions, ["node"]).map(({ files, versions }) => [versions.length, files.length]),
      [[3, 2], [1, 1]]
    )
  })

  it("runsOf runs nothing against older etcds if there is only one etcd", () => {
    assert.deepEqual(runsOf(["test/http/a.test.ts"], "rest", ["3.5.30"]), [])
  })
})
