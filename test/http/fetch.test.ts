import { Effect, Layer, ManagedRuntime, Schedule, type Scope } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import assert from "node:assert/strict"
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http"
import { Registry } from "../../mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../src/http/mod.ts"
import { describe, live } from "../harness/it.ts"
import { freePort } from "../harness/real.ts"

interface Received {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Server {
  readonly url: string
  readonly received: Array<Received>
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** A server that records requests, until the scope closes. */
const serve = (answer: Answer = (_, response) => void response.end("ok")): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const received: Array<Received> = []
    const server = createServer((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (chunk: string) => body += chunk)
      request.on("end", () => {
        received.push({ method: request.method, url: request.url, headers: request.headers, body })
        answer(request, response)
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    )
    const address = server.address()
    return { url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`, received }
  })

const redirectTo = (status: number, location: string): Answer => (request, response) => {
  if (request.url === "/end") return void response.end(`${request.method} at the end`)
  response.writeHead(status, { location })
  response.end("moved")
}

const layerOf = (endpoints: ReadonlyArray<string>, options: DiscoveryHttpClient.Options = {}) =>
  DiscoveryHttpClient.layer({ backoff: Schedule.spaced(0), ...options }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(Registry.layerFixed(endpoints.map((endpoint) => ({ name: "orders", endpoints: [endpoint] }))))
  )

/** `makeFetch` over instances with these endpoints. */
const fetchOver = (endpoints: ReadonlyArray<string>, options?: DiscoveryHttpClient.Options) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => ManagedRuntime.make(layerOf(endpoints, options))),
      (runtime) => runtime.disposeEffect
    ),
    (runtime) => makeFetch(runtime, { maxReplayBytes: 1000 })
  )

const within = <A>(run: () => Promise<A>) => Effect.promise(run)

describe("redirects", () => {
  live(
    "makeFetch follows a redirect within the origin of the instance, and changes the method as fetch does",
    () =>
      Effect.gen(function* () {
        const cases: ReadonlyArray<readonly [number, string, string, string]> = [
          [301, "POST", "GET", ""],
          [302, "PUT", "PUT", "new"],
          [303, "PUT", "GET", ""],
          [307, "POST", "POST", "new"],
          [308, "POST", "POST", "new"]
        ]
        for (const [status, method, then, body] of cases) {
          const server = yield* serve(redirectTo(status, "/end"))
          const fetch = yield* fetchOver([server.url])
          const response = yield* within(() => fetch("http://orders/start", { method, body: "new" }))
          assert.equal(response.redirected, true)
          assert.equal(yield* within(() => response.text()), `${then} at the end`)
          assert.deepEqual(server.received.map(({ body, method, url }) => [method, url, body]), [
            [method, "/start", "new"],
            [then, "/end", body]
          ])
        }
      })
  )

  live("makeFetch follows a redirect to the host of the service on the same instance", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) => {
        if (request.url === "/api/end?x=1") return void response.end("ok")
        response.writeHead(302, { location: "http://orders/end?x=1" })
        response.end()
      })
      const fetch = yield* fetchOver([`${server.url}/api`])
      assert.equal(yield* within(async () => (await fetch("http://orders/start")).text()), "ok")
      assert.deepEqual(server.received.map(({ url }) => url), ["/api/start", "/api/end?x=1"])
    }))

  live(
    "makeFetch returns a redirect to another origin as the response, and the instance stays healthy",
    () =>
      Effect.gen(function* () {
        const other = yield* serve()
        const server = yield* serve(redirectTo(302, `${other.url}/stolen`))
        const fetch = yield* fetchOver([server.url], { failureAccrual: { consecutive: 1, maxEjected: 1 } })
        const headers = { authorization: "secret" }
        for (const input of ["http://orders/", new Request("http://orders/"), "http://orders/"]) {
          const response = yield* within(() => fetch(input, { headers }))
          assert.deepEqual([response.status, response.headers.get("location")], [302, `${other.url}/stolen`])
          assert.equal(response.redirected, false)
          assert.equal(yield* within(() => response.text()), "moved")
        }
        assert.deepEqual([server.received.length, other.received.length], [3, 0])
      })
  )

  live(
    "makeFetch with redirect follow in init goes to another origin without credentials",
    () =>
      Effect.gen(function* () {
        const other = yield* serve()
        const server = yield* serve(redirectTo(302, `${other.url}/asked`))
        const fetch = yield* fetchOver([server.url])
        const headers = { authorization: "secret", cookie: "a=b", accept: "text/plain" }
        const response = yield* within(() => fetch("http://orders/", { headers, redirect: "follow" }))
        assert.equal(yield* within(() => response.text()), "ok")
        const [received] = other.received
        assert.deepEqual(
          [received?.url, received?.headers["authorization"], received?.headers["cookie"], received?.headers["accept"]],
          ["/asked", undefined, undefined, "text/plain"]
        )
      })
  )

  live(
    "makeFetch honours redirect manual and error of a Request, without a retry or an ejection",
    () =>
      Effect.gen(function* () {
        const server = yield* serve(redirectTo(302, "/end"))
        const fetch = yield* fetchOver([server.url], { failureAccrual: { consecutive: 1, maxEjected: 1 } })
        const manual = yield* within(() => fetch(new Request("http://orders/1", { redirect: "manual" })))
        assert.deepEqual([manual.status, manual.headers.get("location")], [302, "/end"])
        yield* within(() => manual.text())
        for (const refused of [1, 2]) {
          const error: unknown = yield* within(() =>
            fetch(new Request(`http://orders/${refused}`, { redirect: "error" })).catch((error: unknown) => error)
          )
          assert.ok(error instanceof TypeError)
          assert.match(error.message, /the redirect was refused: redirect is "error"/)
        }
        assert.equal(server.received.length, 3)
        const text = yield* within(async () => (await fetch("http://orders/2")).text())
        assert.equal(text, "GET at the end")
      })
  )

  live(
    "makeFetch rejects after 20 redirects, and if a streamed body must be sent again",
    () =>
      Effect.gen(function* () {
        const server = yield* serve(redirectTo(307, "/again"))
        const fetch = yield* fetchOver([server.url])
        const rejected = (input: string, init?: RequestInit) =>
          within(() => fetch(input, init).then(() => "resolved", (error: Error) => error.message))
        assert.match(yield* rejected("http://orders/"), /the redirect was refused: there were more than 20 redirects/)
        assert.equal(server.received.length, 21)
        const body = new Blob(["new"]).stream()
        const streamed: RequestInit = { method: "PUT", body, ...{ duplex: "half" } }
        assert.match(
          yield* rejected("http://orders/", streamed),
          /the redirect was refused: its body is a stream(?!, or)/
        )
        assert.equal(server.received.length, 22)
      })
  )

  live(
    "DiscoveryHttpClient returns a redirect to another origin unless RequestInit asks to follow",
    () =>
      Effect.gen(function* () {
        const other = yield* serve()
        const server = yield* serve(redirectTo(302, other.url))
        const status = Effect.map(HttpClient.get("http://orders/"), (response) => response.status)
        yield* Effect.gen(function* () {
          assert.equal(yield* status, 302)
          assert.equal(other.received.length, 0)
          const asked = Effect.provideService(status, FetchHttpClient.RequestInit, { redirect: "follow" })
          assert.equal(yield* asked, 200)
          assert.equal(other.received.length, 1)
        }).pipe(Effect.provide(layerOf([server.url])))
      })
  )
})

describe("bodies", () => {
  const small = "x".repeat(1000)
  const large = "y".repeat(100_000)

  live(
    "makeFetch sends the body of a Request with its length, and again to another instance",
    () =>
      Effect.gen(function* () {
        const server = yield* serve()
        const dead = `http://127.0.0.1:${yield* freePort}`
        const busy = yield* serve((_, response) => {
          response.statusCode = 503
          response.end()
        })
        const fetch = yield* fetchOver([server.url, dead, busy.url])
        for (let call = 0; call < 3; call++) {
          const request = new Request("http://orders/", { method: "PUT", body: small, headers: { a: "b" } })
          assert.equal((yield* within(() => fetch(request))).status, 200)
          assert.equal(request.bodyUsed, true)
        }
        assert.equal(server.received.length, 3)
        assert.ok(busy.received.length > 0)
        for (const { body, headers } of [...server.received, ...busy.received]) {
          assert.equal(body, small)
          assert.deepEqual([headers["content-length"], headers["transfer-encoding"], headers["a"]], [
            String(small.length),
            undefined,
            "b"
          ])
          // Bun sends no type for a text.
          const type = new Request("http://orders/", { method: "PUT", body: small }).headers.get("content-type")
          assert.equal(headers["content-type"] ?? null, type)
        }
      })
  )

  live("makeFetch streams the body of a Request beyond maxReplayBytes, once", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const fetch = yield* fetchOver([server.url])
      const response = yield* within(() => fetch(new Request("http://orders/", { method: "PUT", body: large })))
      assert.equal(response.status, 200)
      assert.equal(server.received[0]?.body, large)
      const busy = yield* serve((_, response) => {
        response.statusCode = 503
        response.end()
      })
      const fetchBusy = yield* fetchOver([busy.url, busy.url])
      const last = yield* within(() => fetchBusy(new Request("http://orders/", { method: "PUT", body: large })))
      assert.deepEqual([last.status, busy.received.length], [503, 1])
    }))

  live(
    "makeFetch rejects with a TypeError if the body of a Request was used, and sends nothing",
    () =>
      Effect.gen(function* () {
        const server = yield* serve()
        const fetch = yield* fetchOver([server.url])
        const request = new Request("http://orders/", { method: "POST", body: "once" })
        yield* within(() => request.text())
        const again = new Request("http://orders/", { method: "POST", body: "twice" })
        yield* within(() => fetch(again))
        for (const used of [request, again]) {
          const error: unknown = yield* within(() => fetch(used).catch((error: unknown) => error))
          assert.ok(error instanceof TypeError)
        }
        assert.deepEqual(server.received.map(({ body }) => body), ["twice"])
      })
  )

  live(
    "makeFetch rejects with the reason of its signal while it reads a body that never ends",
    () =>
      Effect.gen(function* () {
        const fetch = yield* fetchOver(["http://127.0.0.1:9"])
        const reason = new Error("enough")
        const controller = new AbortController()
        const endless = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => controller.abort(reason)) })
        const init: RequestInit = { method: "POST", body: endless, ...{ duplex: "half" }, signal: controller.signal }
        const error: unknown = yield* within(() =>
          fetch(new Request("http://orders/", init)).catch((error: unknown) => error)
        )
        assert.equal(error, reason)
      })
  )
})

describe("arguments", () => {
  live(
    "makeFetch takes null for no options, and an async iterable as a body where fetch does",
    () =>
      Effect.gen(function* () {
        const server = yield* serve((request, response) => void response.end(`${request.method}`))
        const fetch = yield* fetchOver([server.url])
        assert.equal(yield* within(async () => (await fetch("http://orders/", null as never)).text()), "GET")
        const options = () => ({
          method: "POST",
          body: (async function* () {
            yield new TextEncoder().encode("part")
          })() as never,
          duplex: "half"
        })
        yield* within(async () => (await globalThis.fetch(server.url, options())).text())
        yield* within(async () => (await fetch("http://orders/", options())).text())
        const [, plain, balanced] = server.received
        assert.equal(balanced?.body, plain?.body)
      })
  )
})

describe("endpoints", () => {
  live("DiscoveryHttpClient keeps the query and the credentials of an endpoint", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const endpoint = `${server.url.replace("http://", "http://me:p%40ss@")}/base?token=x`
      yield* Effect.gen(function* () {
        yield* HttpClient.get("http://orders/7?full=yes", { urlParams: { page: "2" } })
        yield* HttpClient.get("http://orders/")
        yield* HttpClient.get("http://orders/", { headers: { authorization: "Bearer own" } })
      }).pipe(Effect.provide(layerOf([endpoint])))
      assert.deepEqual(server.received.map(({ url }) => url), [
        "/base/7?token=x&full=yes&page=2",
        "/base/?token=x",
        "/base/?token=x"
      ])
      const basic = `Basic ${btoa("me:p@ss")}`
      assert.deepEqual(server.received.map(({ headers }) => headers["authorization"]), [basic, basic, "Bearer own"])
    }))

  live(
    "makeFetch honours credentials, cache and referrer options of a Request as its runtime does",
    () =>
      Effect.gen(function* () {
        const server = yield* serve()
        const inits: Array<RequestInit> = []
        const noting = Object.assign((input: RequestInfo | URL, init?: RequestInit) => {
          inits.push(init ?? {})
          return globalThis.fetch(input, init)
        }, globalThis.fetch)
        const runtime = yield* Effect.acquireRelease(
          Effect.sync(() =>
            ManagedRuntime.make(Layer.provideMerge(
              layerOf([server.url]),
              Layer.succeed(FetchHttpClient.Fetch, noting)
            ))
          ),
          (runtime) => runtime.disposeEffect
        )
        const request = new Request("http://orders/", { cache: "no-store", credentials: "omit" })
        yield* within(() => makeFetch(runtime)(request))
        // Bun's `Request` ignores credentials.
        const plain = new Request("http://orders/")
        assert.deepEqual(
          [inits[0]?.cache, inits[0]?.credentials],
          ["no-store", request.credentials === plain.credentials ? undefined : "omit"]
        )
        yield* within(() => makeFetch(runtime)(request, { credentials: "include" }))
        assert.equal(inits[1]?.credentials, "include")
      })
  )
})
