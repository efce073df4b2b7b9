import { Effect } from "effect"
import assert from "node:assert/strict"
import { ServiceClient } from "../../src/balancing/mod.ts"
import { describe, effect } from "../harness/it.ts"

describe("ServiceClient.endpointOf", () => {
  effect("EndpointMissing quotes no long endpoint in its message", () =>
    Effect.gen(function* () {
      const endpoints = [`tcp://${"a".repeat(100_000)}`]
      const instance = { id: "a", name: "orders", endpoints, metadata: {}, weight: 1, status: "up" } as const
      const { message } = yield* Effect.flip(ServiceClient.endpointOf(instance, "http"))
      assert.match(message, /^a of "orders" has no endpoint with http: tcp:\/\/a+…$/)
      assert.ok(message.length < 500, `${message.length} characters`)
    }))
})
