import { Effect } from "effect"
import assert from "node:assert/strict"
import { check } from "../../tools/check_imports.ts"
import { describe, effect } from "../harness/it.ts"

const problems = (modules: Record<string, string>) => check(new Map(Object.entries(modules)))

const allows = (what: string, modules: Record<string, string>) =>
  effect(`check_imports allows ${what}`, () => Effect.sync(() => assert.deepEqual(problems(modules), [])))

const refuses = (what: string, modules: Record<string, string>, because: RegExp) =>
  effect(`check_imports refuses ${what}`, () =>
    Effect.sync(() => {
      const found = problems(modules)
      assert.equal(found.length, 1, found.join("\n"))
      assert.match(found.join(), because)
    }))

const base = { "src/internal/A.ts": "", "src/etcd/Etcd.ts": "", "src/registry/Registry.ts": "", "src/kv/Kv.ts": "" }

describe("check_imports", () => {
  allows("an import from a storey below", { ...base, "src/etcd/B.ts": `import { a } from "../internal/A.ts"` })
  allows("an import within a folder", { ...base, "src/etcd/B.ts": `import { a } from "./Etcd.ts"` })
  allows("grpc-js as a type and lazily, in the transport", {
    "src/etcd/grpc/EtcdGrpc.ts":
      `import type { Client } from "@grpc/grpc-js"\nconst load = () => import("@grpc/grpc-js")`
  })
  allows("an example in a comment", {
    "src/etcd/A.ts": `/**\n * import { x } from "etcd3"\n */\n// import y from "etcd3"\n`
  })
  refuses(
    "an import from a storey above",
    { ...base, "src/internal/B.ts": `import {\n  a\n} from "../etcd/Etcd.ts"` },
    /B\.ts:1: .*internal may not import from etcd/
  )
  refuses(
    "an import from a folder of the same storey",
    { ...base, "src/kv/B.ts": `import { a } from "../registry/Registry.ts"` },
    /kv may not import from registry/
  )
  refuses(
    "a re-export from a storey above",
    { ...base, "src/etcd/B.ts": `export * from "../registry/Registry.ts"` },
    /etcd may not import from registry/
  )
  refuses(
    "etcd3 outside of admin",
    { "src/registry/Registry.ts": `import type { X } from "etcd3"` },
    /registry may not import it/
  )
  refuses("grpc-js loaded at once", { "src/etcd/grpc/a.ts": `import { Client } from "@grpc/grpc-js"` }, /lazily/)
  refuses(
    "grpc-js loaded lazily outside of the transport",
    { "src/etcd/Session.ts": `const f = () => import("@grpc/grpc-js")` },
    /etcd may not import it/
  )
  refuses("a package that is not a dependency", { "src/etcd/Session.ts": `import "lodash"` }, /no dependency/)
  refuses(
    "a relative import without .ts",
    { ...base, "src/etcd/B.ts": `import { a } from "../internal/A"` },
    /ends in \.ts/
  )
  refuses("a missing file", { "src/etcd/B.ts": `import { a } from "./A.ts"` }, /there is no/)
  refuses("a folder without a storey", { "src/other/A.ts": "" }, /no storey/)
  refuses("a cycle", {
    "src/etcd/A.ts": `import { b } from "./B.ts"`,
    "src/etcd/B.ts": `import { a } from "./A.ts"`
  }, /A\.ts -> src\/etcd\/B\.ts -> src\/etcd\/A\.ts/)
  refuses(
    "a file beside a folder of its own name",
    { "src/etcd/Grpc.ts": "", "src/etcd/grpc/a.ts": "" },
    /Grpc\.ts: stands beside a folder/
  )
})
