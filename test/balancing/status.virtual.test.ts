import { Cause, Effect } from "effect"
import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import assert from "node:assert/strict"
import { TestClock } from "effect/testing"
import { Registry } from "../../mod.ts"
import { ServiceClient } from "../../src/balancing/mod.ts"
import { GrpcStatus } from "../../src/grpc/mod.ts"
import { describe, effect } from "../harness/it.ts"

/** An error as grpc-js makes it. */
const grpcError = (code: number): Error =>
  Object.assign(new Error(`${code} details`), { code, details: "details", metadata: {} })
/** An error as ConnectRPC makes it. */
const connectError = (code: number): Error =>
  Object.assign(new Error("details"), { name: "ConnectError", code, rawMessage: "details", metadata: {}, details: [] })

const httpError = (status: number) => {
  const request = HttpClientRequest.get("http://orders/")
  const response = HttpClientResponse.fromWeb(request, new Response("", { status }))
  return new HttpClientError.HttpClientError({
    reason: new HttpClientError.StatusCodeError({ request, response })
  })
}

const registry = Registry.layerFixed(
  ["a", "b", "c", "d"].map((id) => ({ name: "orders", id, endpoints: ["tcp://a:1"] }))
)

/** How often a call that fails with an error runs, and what that counts for the instances. */
const runsOf = (error: unknown, options?: ServiceClient.CallOptions) =>
  Effect.gen(function* () {
    const client = yield* ServiceClient.make({ service: "orders", connect: () => Effect.succeed("client") })
    let runs = 0
    const call = client.call(() => {
      runs += 1
      return Effect.fail(error)
    }, options)
    const failing = yield* Effect.forkScoped(Effect.exit(call))
    yield* TestClock.adjust("10 seconds")
    assert.ok(failing.pollUnsafe() !== undefined)
    const { instances } = yield* client.state
    return { runs, failures: instances.reduce((sum, { failures }) => sum + failures, 0) }
  }).pipe(Effect.scoped, Effect.provide(registry))

const codes = Array.from({ length: 16 }, (_, index) => index + 1)
const failures = new Set([4, 8, 13, 14, 15])

describe("the default of retryable", () => {
  effect(
    "ServiceClient.call does not retry a gRPC code other than UNAVAILABLE",
    () =>
      Effect.gen(function* () {
        for (const code of codes) {
          for (const error of [grpcError(code), connectError(code), new Cause.UnknownError(grpcError(code))]) {
            const { failures: failed, runs } = yield* runsOf(error)
            assert.equal(runs, code === 14 ? 3 : 1, `code ${code}`)
            assert.equal(failed, failures.has(code) ? runs : 0, `code ${code}`)
          }
        }
      })
  )

  effect(
    "ServiceClient.call does not retry an HTTP status other than 502, 503 and 504",
    () =>
      Effect.gen(function* () {
        for (const [status, runs] of [[400, 1], [404, 1], [409, 1], [500, 1], [502, 3], [503, 3], [504, 3]] as const) {
          assert.deepEqual(yield* runsOf(httpError(status)), { runs, failures: runs === 1 ? 0 : 3 }, `status ${status}`)
        }
      })
  )

  effect("ServiceClient.call retries an error without a status", () =>
    Effect.gen(function* () {
      for (
        const error of [
          new Error("lost"),
          "lost",
          undefined,
          null,
          { code: 3 },
          Object.assign(new Error(), { code: 3 })
        ]
      ) {
        assert.deepEqual(yield* runsOf(error), { runs: 3, failures: 3 })
      }
      const circular = new Error("circular")
      circular.cause = circular
      assert.deepEqual(yield* runsOf(circular), { runs: 3, failures: 3 })
    }))
})

describe("GrpcStatus", () => {
  effect("GrpcStatus.idempotent retries codes after which another attempt is useful", () =>
    Effect.gen(function* () {
      for (const code of codes) {
        const { runs } = yield* runsOf(grpcError(code), GrpcStatus.idempotent)
        assert.equal(runs, failures.has(code) || code === 10 ? 3 : 1, `code ${code}`)
      }
    }))

  effect("GrpcStatus.once retries only a refused connection", () =>
    Effect.gen(function* () {
      for (const code of codes) {
        assert.equal((yield* runsOf(grpcError(code), GrpcStatus.once)).runs, 1, `code ${code}`)
      }
      const refused = new Error("connect", { cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }) })
      assert.equal((yield* runsOf(refused, GrpcStatus.once)).runs, 3)
    }))

  effect("GrpcStatus.codeOf returns the code of an error or of its cause", () =>
    Effect.sync(() => {
      assert.equal(GrpcStatus.codeOf(new Error("wrapped", { cause: connectError(5) })), 5)
      assert.equal(GrpcStatus.codeOf(new Error("no code")), undefined)
      assert.deepEqual([grpcError(3), grpcError(13), "text"].map(GrpcStatus.isFailure), [false, true, true])
      assert.deepEqual([grpcError(3), grpcError(14), "text"].map(GrpcStatus.isRetryable), [false, true, true])
    }))
})
