import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2"
import type { AddressInfo } from "node:net"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { discover, Registry } from "../../../mod.ts"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { quiet, recorded } from "../../registry/registration/support.ts"
import { watching } from "./support.ts"

/** An HTTP/2 server that answers each request in the same way, as a proxy or a mesh does. */
const startHttp = (answer: (stream: ServerHttp2Stream) => void): Effect.Effect<string, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const sessions = new Set<ServerHttp2Session>()
    const server = yield* Effect.acquireRelease(
      Effect.callback<Http2Server>((resume) => {
        const server = createServer()
        server.on("session", (session) => sessions.add(session))
        server.on("stream", (stream) => {
          stream.on("error", () => {})
          answer(stream)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          for (const session of sessions) session.destroy()
          server.close()
        })
    )
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })

const page = "<html><head><title>error</title></head><body>no healthy upstream</body></html>".repeat(20)

const html = (status: number) => (stream: ServerHttp2Stream): void => {
  stream.respond({ ":status": status, "content-type": "text/html" })
  stream.end(page)
}

const grpc = (code: number, message: string) => (stream: ServerHttp2Stream): void =>
  stream.respond({
    ":status": 200,
    "content-type": "application/grpc",
    "grpc-status": String(code),
    "grpc-message": message
  }, { endStream: true })

const bytes = (message: Uint8Array, flag = 0, headers = {}) => (stream: ServerHttp2Stream): void => {
  stream.respond({ ":status": 200, "content-type": "application/grpc", ...headers }, { waitForTrailers: true })
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
  stream.end(Buffer.from([flag, 0, 0, 0, message.length, ...message]))
}

const fronts: ReadonlyArray<readonly [title: string, answer: (stream: ServerHttp2Stream) => void]> = [
  ["HTTP 401 with a page", html(401)],
  ["HTTP 403 with a page", html(403)],
  ["HTTP 429 with a page", html(429)],
  ["HTTP 502 with a page", html(502)],
  ["HTTP 503 with a page", html(503)],
  ["HTTP 200 with a page", html(200)],
  ["its own PERMISSION_DENIED", grpc(7, "RBAC: access denied")],
  ["its own UNAUTHENTICATED", grpc(16, "Jwt is missing")],
  ["its own UNAVAILABLE", grpc(14, "upstream connect error")],
  ["a PERMISSION_DENIED of an external check", grpc(7, "ext auth: permission denied")],
  ["its own INVALID_ARGUMENT", grpc(3, "bad header")],
  ["its own NOT_FOUND", grpc(5, "no route")],
  ["its own FAILED_PRECONDITION", grpc(9, "no cluster")],
  ["its own OUT_OF_RANGE", grpc(11, "too far")],
  ["its own UNIMPLEMENTED", grpc(12, "")],
  ["the UNIMPLEMENTED of another gRPC server", grpc(12, "unknown service etcdserverpb.KV")],
  ["its own DATA_LOSS", grpc(15, "lost")],
  ["a status that gRPC does not have", grpc(99, "")],
  ["OK without a message", grpc(0, "")],
  ["bytes that are no message", bytes(new Uint8Array([0x0a, 0x7f, 1]))],
  ["a message that was compressed by an unknown method", bytes(new Uint8Array([8, 8]), 1)],
  ["a message that is no gzip", bytes(new Uint8Array([8, 8]), 1, { "grpc-encoding": "gzip" })]
]

describe("EtcdGrpc behind an HTTP proxy", () => {
  for (const [title, answer] of fronts) {
    live(
      `calls, heartbeats and watches fail with Unavailable if a proxy answers ${title}`,
      () =>
        Effect.gen(function* () {
          const endpoint = yield* startHttp(answer)
          const etcd = yield* EtcdGrpc.make({ endpoints: [endpoint] })
          const watch = yield* watching(etcd, { key: "a" })
          const errors = [
            yield* Effect.flip(etcd.range({ key: "a" })),
            yield* Effect.flip(etcd.leaseKeepAlive({ id: 1n })),
            yield* watch.failure
          ]
          for (const { endpoint: at, message, reason, retryable } of errors) {
            assert.deepEqual([reason._tag, retryable, at], ["Unavailable", true, endpoint], message)
            assert.doesNotMatch(message, /undefined/)
          }
        })
    )
  }

  live(
    "a call moves to the next endpoint if another server than etcd answers at the first",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const stranger = yield* startHttp(grpc(12, "unknown service etcdserverpb.KV"))
        const etcd = yield* EtcdGrpc.make({ endpoints: [stranger, server.endpoint] })
        yield* Effect.flip(etcd.put({ key: "a", value: "1" }))
        yield* etcd.put({ key: "a", value: "2" })
      })
  )

  live("discover survives an error page of a proxy before its first set (D7)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const front = yield* makeProxy(server)
      yield* front.retarget(yield* startHttp(html(403)))
      yield* Effect.gen(function* () {
        const sets = yield* recorded(discover("orders"))
        yield* Effect.sleep("1 second")
        assert.equal(sets.all.length, 0)
        yield* front.retarget(server.endpoint)
        yield* front.reset
        yield* sets.until(({ size }) => size === 0)
      }).pipe(Effect.provide([Registry.layerEtcd({ endpoints: [front.endpoint] }), quiet]))
    }))
})
