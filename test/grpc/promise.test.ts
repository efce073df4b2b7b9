// The resolver as a program without Effect registers it.
import * as grpc from "@grpc/grpc-js"
import { Effect } from "effect"
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { connect } from "../../src/promise/mod.ts"
import { describe, live } from "../harness/it.ts"
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
        const require = createRequire(import.meta.url)
        for (const file of Object.keys(require.cache)) if (file.includes("grpc-js")) delete require.cache[file]
        const copy: typeof grpc = require("@grpc/grpc-js")
        assert.notEqual(copy.Client, grpc.Client)
        const discovery = yield* attempt(() => connect({ memory: true }))
        yield* attempt(() => discovery.registerGrpcResolver(copy, { scheme: "copied" }))
        const client = new copy.Client("copied:///orders", copy.credentials.createInsecure())
        client.close()
        // The other copy takes the target for the name of a host.
        const error = yield* Effect.flatMap(clientOf("copied:///orders"), ({ get }) => Effect.flip(get("1")))
        assert.equal(error.code, grpc.status.UNAVAILABLE)
        assert.doesNotMatch(error.details, /cannot resolve "orders"/)
        yield* attempt(() => discovery.close())
      })
  )
})
