/** The programs without Effect in `examples/promise/`, as processes against a real etcd. */
import { Effect } from "effect"
import assert from "node:assert/strict"
import { connect } from "../../src/promise/mod.ts"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { attempt } from "../harness/real.ts"

const programs = [
  { file: "express.ts", ready: "registered /services/orders/", body: `{"id":"7"}` },
  { file: "fastify.ts", ready: "registered /services/orders/", body: `{"id":"7"}` },
  { file: "nest.ts", ready: "registered /services/orders/", body: `{"id":"7"}` },
  // It calls itself by the name of its service.
  { file: "commonjs.cjs", ready: "order /7", body: "order /orders/7" }
]

describe("examples/promise", () => {
  for (const { body, file, ready } of programs) {
    live(
      `examples/promise/${file} registers, serves while it drains after SIGTERM, deletes its key, and exits with 0`,
      () =>
        Effect.gen(function* () {
          const etcd = yield* startEtcd()
          const client = yield* Effect.acquireRelease(
            attempt(() => connect({ endpoints: [etcd.endpoint] })),
            (client) => Effect.promise(() => client.close())
          )
          const sets = client.watch("orders")[Symbol.asyncIterator]()
          /** The first set from now on with these statuses. */
          const awaitSet = (...statuses: ReadonlyArray<string>) =>
            attempt(async () => {
              while (true) {
                const { value } = await sets.next()
                if (
                  value.instances.map(({ status }: { readonly status: string }) => status).join() === statuses.join()
                ) {
                  return value
                }
              }
            })
          const request = (url: string) => attempt(async () => (await fetch(`${url}/orders/7`)).text())

          const program = yield* runProgram({
            file: new URL(`../../examples/promise/${file}`, import.meta.url),
            env: { ETCD_ENDPOINTS: etcd.endpoint }
          })
          const [url] = (yield* awaitSet("up")).endpoints
          assert.equal(yield* request(url), body)
          yield* program.awaitLine(ready)

          yield* program.signal("SIGTERM")
          yield* awaitSet("draining")
          assert.equal(yield* request(url), body)
          yield* awaitSet()
          assert.deepEqual(yield* program.exit, { code: 0, signal: null }, yield* program.stderr)
          assert.equal((yield* etcdctl(etcd, "get", "--prefix", "/services/", "--keys-only")).trim(), "")
          assert.match(yield* program.stdout, /the key is deleted\n[^]*the server has stopped/)
        })
    )
  }
})
