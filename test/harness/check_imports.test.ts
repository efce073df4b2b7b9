import { Effect } from "effect"
import assert from "node:assert/strict"
import { check } from "../../tools/check_imports.ts"
import { describe, effect } from "./it.ts"

const problems = (modules: Record<string, string>) => check(new Map(Object.entries(modules)))

const allows = (what: string, modules: Record<string, string>) =>
  effect(`allows ${what}`, () => Effect.sync(() => assert.deepEqual(problems(modules), [])))

const refuses = (what: string, modules: Record<string, string>, because: RegExp) =>
  effect(`refuses ${what}`, () =>
    Effect.sync(() => {
      const found = problems(modules)
      assert.equal(found.length, 1, found.join("\n"))
      assert.match(found.join(), because)
    }))

const empty = { "src/model/A.ts": "", "src/etcd/Etcd.ts": "", "src/Registry.ts": "" }

describe("check_imports", () => {
  allows("an import that points down", { ...empty, "src/Session.ts": `import { a } from "./model/A.ts"` })
  allows("etcd3 as a type and lazily, in the transport", {
    "src/etcd/EtcdGrpc.ts": `import type { Etcd3 } from "etcd3"\nconst load = () => import("etcd3")`
  })
  allows("an example in a comment", {
    "src/model/A.ts": `/**\n * import { x } from "etcd3"\n */\n// import y from "etcd3"\n`
  })
  refuses(
    "an import that points up",
    { ...empty, "src/model/B.ts": `import {\n  a\n} from "../etcd/Etcd.ts"` },
    /B\.ts:1: .*model may not use etcd/
  )
  refuses(
    "a re-export that points up",
    { ...empty, "src/Session.ts": `export * from "./Registry.ts"` },
    /may not use registry/
  )
  refuses("etcd3 outside of the transport", { "src/Registry.ts": `import type { X } from "etcd3"` }, /only transport/)
  refuses("etcd3 loaded at once", { "src/etcd/grpc/a.ts": `import { Etcd3 } from "etcd3"` }, /lazily/)
  refuses("@grpc lazily elsewhere", { "src/Session.ts": `const f = () => import("@grpc/grpc-js")` }, /only transport/)
  refuses("a package that is no dependency", { "src/Session.ts": `import "lodash"` }, /no dependency/)
  refuses(
    "a relative import without .ts",
    { ...empty, "src/Session.ts": `import { a } from "./model/A"` },
    /ends in \.ts/
  )
  refuses("a missing file", { "src/Session.ts": `import { a } from "./model/A.ts"` }, /there is no/)
  refuses("a file in no room", { "src/other.ts": "" }, /no room/)
  refuses("a cycle", {
    "src/model/A.ts": `import { b } from "./B.ts"`,
    "src/model/B.ts": `import { a } from "./A.ts"`
  }, /A\.ts -> src\/model\/B\.ts -> src\/model\/A\.ts/)
})
