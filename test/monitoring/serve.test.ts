import { Context, Effect, Layer, Scope } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import assert from "node:assert/strict"
import { createServer, request } from "node:http"
import net from "node:net"
import process from "node:process"
import { registerService, Registry } from "../../mod.ts"
import { Monitoring } from "../../src/monitoring/mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { attempt, eventually } from "../harness/real.ts"
import { layerServer } from "../http/nodeServer.ts"

const get = (url: string, init?: RequestInit) =>
  attempt(async () => {
    const response = await fetch(url, init)
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() }
  })

/** What a server writes to a raw request, up to its end. */
const raw = (port: number, request: string): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    let text = ""
    const socket = net.connect(port, "127.0.0.1", () => socket.write(request))
    socket.setEncoding("utf8").on("data", (data) => text += data)
    socket.on("close", () => resume(Effect.succeed(text)))
    socket.on("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => socket.destroy())
  })

/** The server of the runtime that runs the test, as a program there starts it. */
const serveNatively = (handler: Monitoring.WebHandler): Effect.Effect<number, never, Scope.Scope> => {
  const { Bun, Deno } = globalThis as unknown as {
    readonly Bun?: { serve: (options: object) => { readonly port: number; stop: (force: boolean) => Promise<void> } }
    readonly Deno?: {
      serve: (options: object, handler: Monitoring.WebHandler) => {
        readonly addr: { readonly port: number }
        shutdown: () => Promise<void>
      }
    }
  }
  if ("bun" in process.versions && Bun !== undefined) {
    return Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: handler })),
        (server) => Effect.promise(() => server.stop(true))
      ),
      ({ port }) => port
    )
  }
  if ("deno" in process.versions && Deno !== undefined) {
    return Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, handler)),
        (server) => Effect.promise(() => server.shutdown())
      ),
      ({ addr }) => addr.port
    )
  }
  return Effect.map(Effect.orDie(Monitoring.serve(handler, { port: 0 })), ({ port }) => port)
}

describe("Monitoring on a server", () => {
  live("Monitoring.webHandler serves every route through the server of the runtime", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      yield* Effect.gen(function* () {
        const registration = yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.5:8080"] })
        const handler = yield* Monitoring.webHandler({ ready: Monitoring.registered(registration) })
        const base = `http://127.0.0.1:${yield* serveNatively(handler)}`
        assert.equal((yield* get(`${base}/livez`)).status, 200)
        assert.equal((yield* get(`${base}/readyz`)).status, 200)
        const targets = yield* get(`${base}/sd/prometheus?service=orders`)
        assert.deepEqual([targets.status, targets.type], [200, "application/json"])
        assert.deepEqual(JSON.parse(targets.text)[0].targets, ["10.0.0.5:8080"])
        const metrics = yield* get(`${base}/metrics`)
        for (
          const line of [
            "etcd_discovery_etcd_reachable 1",
            `etcd_discovery_registrations{service="orders",status="registered"} 1`,
            `etcd_discovery_instances{service="orders",status="up"} 1`,
            `etcd_discovery_registrations_lost_total{service="orders"} 0`,
            `etcd_discovery_etcd_calls_failed_total{method="leaseGrant"} 0`,
            `etcd_discovery_etcd_call_duration_seconds_count{method="leaseGrant"} 1`,
            `etcd_discovery_etcd_call_duration_seconds_bucket{method="leaseGrant",le="+Inf"} 1`
          ]
        ) assert.ok(metrics.text.includes(`${line}\n`), `${line} is not in\n${metrics.text}`)

        yield* etcd.kill("SIGKILL")
        yield* eventually(Effect.flatMap(get(`${base}/metrics`), ({ text }) =>
          text.includes("etcd_discovery_etcd_reachable 0\n") ? Effect.void : Effect.fail(new Error(text))))
        assert.equal((yield* get(`${base}/sd/prometheus`)).status, 200)
      }).pipe(
        Effect.scoped,
        Effect.provide(Registry.layerEtcd({ endpoints: [etcd.endpoint], releaseTimeout: "500 millis" }))
      )
    }))

  live("Monitoring.layer adds the routes beside others of an HttpRouter", () =>
    Effect.gen(function* () {
      const routes = Layer.mergeAll(
        HttpRouter.add("GET", "/", HttpServerResponse.text("hello")),
        Monitoring.layer({ prefix: "/internal" })
      )
      const context = yield* Layer.build(
        HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
          Layer.provide(Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])),
          Layer.provideMerge(layerServer("127.0.0.1"))
        )
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      const base = `http://127.0.0.1:${"port" in address ? address.port : 0}`
      assert.equal((yield* get(base)).text, "hello")
      assert.equal((yield* get(`${base}/internal/livez`)).status, 200)
      assert.deepEqual(JSON.parse((yield* get(`${base}/internal/sd/prometheus`)).text)[0].targets, ["10.0.0.5:8080"])
      assert.match((yield* get(`${base}/internal/metrics`)).text, /^# HELP /)
      assert.equal((yield* get(`${base}/metrics`)).status, 404)
    }))

  live(
    "Monitoring.serve handles unusual requests, and frees the port when its scope closes",
    () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const handler = yield* Monitoring.webHandler().pipe(Effect.provide(Registry.layerMemory()))
        const { hostname, port } = yield* Monitoring.serve(handler, { port: 0 }).pipe(Scope.provide(scope))
        assert.equal(hostname, "127.0.0.1")
        const base = `http://127.0.0.1:${port}`
        const head = yield* get(`${base}/livez`, { method: "HEAD" })
        assert.deepEqual([head.status, head.text], [200, ""])
        assert.equal((yield* get(`${base}/livez`, { method: "POST", body: "x" })).status, 404)
        assert.equal((yield* get(`${base}/nothing`)).status, 404)
        for (const target of ["//", "http://other/livez", "*"]) {
          const text = yield* raw(port, `GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
          assert.match(text, /^HTTP\/1\.1 (?:400|404) /, target)
        }
        const taken = yield* Effect.flip(Monitoring.serve(handler, { port }))
        assert.equal(taken._tag, "ServeFailed")
        assert.match(taken.message, new RegExp(`^cannot serve on 127\\.0\\.0\\.1:${port}: `))
        assert.equal((yield* Effect.flip(Monitoring.serve(handler, { port: 70_000 })))._tag, "InvalidOption")
        yield* Scope.close(scope, yield* Effect.exit(Effect.void))
        yield* Effect.flip(get(`${base}/livez`))
        yield* Monitoring.serve(handler, { port })
      })
  )

  live(
    "Monitoring.nodeListener answers TRACE with 501, because no Request can have that method",
    () =>
      Effect.gen(function* () {
        const server = createServer(Monitoring.nodeListener(() => Promise.resolve(new Response("handled"))))
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
          () => Effect.sync(() => server.close())
        )
        const { port } = server.address() as net.AddressInfo
        const status = yield* Effect.callback<number | undefined, Error>((resume) => {
          request({ port, host: "127.0.0.1", method: "TRACE", agent: false }, (response) => {
            response.resume()
            resume(Effect.succeed(response.statusCode))
          }).on("error", (error) => resume(Effect.fail(error))).end()
        })
        assert.equal(status, 501)
      })
  )

  // A body that was begun and not read to its end blocks its connection on Node.
  live(
    "Monitoring.nodeListener does not read the body of a request before the handler does",
    () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const server = createServer((incoming, outgoing) =>
          Monitoring.nodeListener(async (request) => {
            await new Promise((resolve) => setImmediate(resolve))
            seen.push(incoming.readableDidRead, request.url.endsWith("/read") && await request.text())
            return new Response("done")
          })(incoming, outgoing)
        )
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
          () => Effect.sync(() => server.close())
        )
        const base = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
        for (const path of ["/unread", "/read"]) {
          const response = yield* get(base + path, { method: "POST", body: "body", headers: { connection: "close" } })
          assert.equal(response.text, "done")
        }
        assert.deepEqual(seen, [false, false, false, "body"])
      })
  )
})
