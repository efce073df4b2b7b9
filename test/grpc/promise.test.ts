// Registers the resolver as a program without Effect does.
import * as grpc from "@grpc/grpc-js"
import { Effect } from "effect"
import assert from "node:assert/strict"
import { connect } from "../../src/promise/mod.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { attempt } from "../harness/real.ts"
import { clientOf, serve } from "./orders.ts"

describe("registerGrpcResolver of ./promise", () => {
  live(
    "registerGrpcResolver makes a service name the target of a client until the connection closes",
    () =>
      Effect.gen(function* () {
        const a = yield* serve("a")
        const discovery = yield* attempt(() => connect({ memory: true }))
        yield* attempt(() =>
          discovery.registerGrpcResolver(grpc, { scheme: "promised", discoveryTimeout: "5 seconds" })
        )
        yield* attempt(() => discovery.register("orders", { endpoints: [a.endpoint] }))
        const client = yield* clientOf("promised:///orders")
        assert.equal(yield* client.get("1"), "a")
        yield* attempt(() => discovery.close())
        const late = yield* Effect.flatMap(clientOf("promised:///orders"), ({ get }) => Effect.flip(get("2")))
        assert.match(late.details, /the registration of the resolver has ended/)
      })
  )

  live(
    "registerGrpcResolver rejects with INVALID_OPTION for a module that is not grpc-js",
    () =>
      Effect.gen(function* () {
        const discovery = yield* attempt(() => connect({ memory: true }))
        const error = yield* Effect.flip(attempt(() => discovery.registerGrpcResolver({} as never)))
        assert.equal((error as { readonly code?: string }).code, "INVALID_OPTION")
        yield* attempt(() => discovery.close())
      })
  )

  live(
    "registerGrpcResolver registers with the copy of grpc-js that it gets, and with no other",
    () =>
      Effect.gen(function* () {
        // A process of its own: the second copy would stay in the cache of modules for the tests that follow.
        const program = yield* runProgram({ file: new URL("programs/twoCopies.ts", import.meta.url) })
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
        assert.equal(
          (yield* program.stdout).trim(),
          'this copy: cannot resolve "orders"\nthe other copy: the target is the name of a host'
        )
      })
  )
})
