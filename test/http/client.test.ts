import { Effect, Exit, Layer, ManagedRuntime, Option, Schedule, Schema, type Scope, Stream, Tracer } from "effect"
import {
  FetchHttpClient,
  HttpBody,
  HttpClient,
  HttpClientError,
  HttpClientRequest,
  type HttpClientResponse
} from "effect/http"
import assert from "node:assert/strict"
import { registerService, Registry, Service } from "../../mod.ts"
import { Balancer, ServiceClient } from "../../src/balancing/mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../src/http/mod.ts"
import { kratos } from "../../src/interop/mod.ts"
import { describe } from "../harness/it.ts"
import { recordingTracer } from "../harness/tracer.ts"
import { elapse, start, verify } from "../harness/virtual.ts"

/** A request that was sent. */
interface Sent {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  readonly body: string | undefined
}

type Answer = (sent: Sent, signal: AbortSignal | undefined) => Response | Error | Promise<Response>

/** A `fetch` that records requests and returns `answer`. */
const fakeFetch = (answer: Answer = () => new Response("ok")) => {
  const sent: Array<Sent> = []
  const fetch = (async (input: URL | string, init: RequestInit = {}) => {
    const one = { method: init.method ?? "GET", url: String(input), headers: new Headers(init.headers) }
    const noted: Sent = { ...one, body: undefined }
    const place = sent.push(noted) - 1
    const { body } = init
    // A stream that was sent before cannot be read again.
    if (body !== undefined && body !== null) sent[place] = { ...one, body: await new Response(body).text() }
    const given = await answer(noted, init.signal ?? undefined)
    if (given instanceof Error) throw given
    return given
  }) as typeof globalThis.fetch
  return { fetch, sent, hosts: () => sent.map(({ url }) => new URL(url).host) }
}

const three = Registry.layerFixed([
  { name: "orders", endpoints: ["tcp://a:1", "http://a:80", "https://a:443"] },
  { name: "orders", endpoints: ["http://b:80/api/"] },
  { name: "orders", endpoints: ["http://c:80"] },
  { name: "odd", endpoints: ["tcp://d:80"] }
])

const layerOf = (fetch: typeof globalThis.fetch, options?: DiscoveryHttpClient.Options) =>
  DiscoveryHttpClient.layer({ backoff: Schedule.spaced(0), ...options }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provideMerge(Layer.succeed(FetchHttpClient.Fetch, fetch)),
    Layer.provide(three)
  )

/** Runs with a client over this `fetch`. */
const using = <A, E>(
  { fetch }: { readonly fetch: typeof globalThis.fetch },
  body: Effect.Effect<A, E, HttpClient.HttpClient | Scope.Scope>,
  options?: DiscoveryHttpClient.Options
) => Effect.provide(body, layerOf(fetch, options))

const text = (response: HttpClientResponse.HttpClientResponse) => response.text
const reset = () => Object.assign(new TypeError("fetch failed"), { cause: new Error("read ECONNRESET") })
/** As the three runtimes report it. service.test.ts checks them. */
const refusals = [
  () => new TypeError("fetch failed", { cause: Object.assign(new Error("connect"), { code: "ECONNREFUSED" }) }),
  () => Object.assign(new Error("Unable to connect"), { code: "ConnectionRefused" }),
  () =>
    new TypeError("fetch failed", {
      cause: new Error(
        "error sending request for url (http://a/): client error (Connect): tcp connect error: Connection refused (os error 111)"
      )
    })
]

describe("DiscoveryHttpClient", () => {
  verify(
    "DiscoveryHttpClient sends requests for a service below the endpoints of its instances, and others unchanged",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        yield* using(
          fake,
          Effect.forEach([
            "http://orders/7?full=yes",
            "http://orders/7?full=yes",
            "http://orders/7?full=yes",
            "http://orders.example.com/1",
            "http://orders:8080/2",
            "http://localhost/3",
            "http://10.0.0.1/4",
            "http://[::1]/5"
          ], (url) => Effect.flatMap(HttpClient.get(url, { urlParams: { page: "2" } }), text))
        )
        assert.deepEqual(fake.sent.slice(0, 3).map(({ url }) => url).toSorted(), [
          "http://a/7?full=yes&page=2",
          "http://b/api/7?full=yes&page=2",
          "http://c/7?full=yes&page=2"
        ])
        assert.deepEqual(fake.hosts().slice(3), ["orders.example.com", "orders:8080", "localhost", "10.0.0.1", "[::1]"])
      })
  )

  verify("DiscoveryHttpClient keeps path, query and credentials of a URL unchanged", () =>
    Effect.gen(function* () {
      const fake = fakeFetch()
      const one = Balancer.filter(({ id }) => id === "orders-2")(Balancer.roundRobin)
      yield* using(
        fake,
        Effect.forEach(["http://orders", "http://orders/a%2Fb c/../d?q=%20#top", "http://me:secret@orders/7"], (url) =>
          HttpClient.get(url)),
        { strategy: one }
      )
      assert.deepEqual(
        fake.sent.map(({ url }) =>
          url
        ),
        [
          "http://b/api/",
          "http://b/api/d?q=%20",
          // fetch refuses it, with or without a service.
          "http://me:secret@b/api/7"
        ]
      )
    }))

  verify(
    "DiscoveryHttpClient sends https to https endpoints only, and fails if an instance has no HTTP endpoint",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        yield* using(
          fake,
          Effect.gen(function* () {
            yield* Effect.repeat(HttpClient.get("https://orders/"), { times: 4 })
            const error = yield* Effect.flip(HttpClient.get("http://odd/"))
            assert.match(error.message, /odd-4 of "odd" has no endpoint with http or https: tcp:\/\/d:80/)
          }),
          { attempts: 9 }
        )
        assert.deepEqual(new Set(fake.sent.map(({ url }) => url)), new Set(["https://a/"]))
      })
  )

  verify(
    "DiscoveryHttpClient resolves hosts of services to Service values with typed metadata and foreign codecs",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        const Orders = Service.make("Orders_v2", { metadata: Schema.Struct({ shard: Schema.Int }) })
        const Payments = Service.make("payments", { codec: kratos({ namespace: "/microservices" }) })
        yield* Effect.gen(function* () {
          yield* registerService(Orders, { id: "o1", endpoints: ["http://o1:80"], metadata: { shard: 1 } })
          yield* registerService(Orders, { id: "o2", endpoints: ["http://o2:80"], metadata: { shard: 2 } })
          yield* registerService(Payments, { id: "p1", endpoints: ["grpc://p1:90", "http://p1:80"] })
          yield* registerService("plain", { id: "n1", endpoints: ["http://n1:80"] })
          const hosts = { orders: Orders, "pay.internal:8080": Payments }
          const client = yield* DiscoveryHttpClient.make(yield* HttpClient.HttpClient, { services: hosts })
          const filtered = yield* DiscoveryHttpClient.make(yield* HttpClient.HttpClient, {
            service: Orders,
            strategy: Balancer.roundRobin.pipe(
              Balancer.filter<{ readonly shard: number }>(({ metadata }) => metadata.shard === 2)
            )
          })
          yield* client.get("http://orders/1")
          yield* client.get("http://ORDERS/2")
          yield* client.get("http://pay.internal:8080/3")
          yield* client.get("http://plain/4")
          yield* filtered.get("/5")
          yield* filtered.get("http://orders_v2/6")
        }).pipe(
          Effect.provide(FetchHttpClient.layer),
          Effect.provide(Registry.layerMemory()),
          Effect.provideService(FetchHttpClient.Fetch, fake.fetch)
        )
        assert.deepEqual(fake.sent.slice(0, 2).map(({ url }) => url.replace(/o[12]/, "o")), [
          "http://o/1",
          "http://o/2"
        ])
        assert.deepEqual(fake.sent.slice(2).map(({ url }) => url), [
          "http://p1/3",
          "http://n1/4",
          "http://o2/5",
          "http://o2/6"
        ])
      })
  )

  verify("DiscoveryHttpClient resolves the name of a service with typed metadata", () =>
    Effect.gen(function* () {
      const fake = fakeFetch()
      const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
      yield* Effect.gen(function* () {
        yield* registerService(Orders, { endpoints: ["http://o1:80"], metadata: { shard: 1 } })
        const client = yield* DiscoveryHttpClient.make(yield* HttpClient.HttpClient)
        yield* client.get("http://orders/1")
      }).pipe(
        Effect.provide(FetchHttpClient.layer),
        Effect.provide(Registry.layerMemory()),
        Effect.provideService(FetchHttpClient.Fetch, fake.fetch)
      )
      assert.deepEqual(fake.sent.map(({ url }) => url), ["http://o1/1"])
    }))

  verify(
    "DiscoveryHttpClient stops following a service after idleTimeToLive without requests, and starts again",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        const log: Array<string> = []
        const counting = Effect.map(Registry.Registry, (inner): Registry.Registry => ({
          ...inner,
          discover: (service, options) =>
            Stream.suspend(() => {
              log.push("follow")
              return Stream.ensuring(inner.discover(service, options), Effect.sync(() => void log.push("stop")))
            })
        }))
        yield* Effect.gen(function* () {
          const inner = yield* HttpClient.HttpClient
          const client = yield* Effect.provideServiceEffect(
            DiscoveryHttpClient.make(inner, { idleTimeToLive: "1 minute" }),
            Registry.Registry,
            counting
          )
          yield* Effect.all([client.get("http://orders/1"), client.get("http://orders/2")], { concurrency: 2 })
          yield* elapse("59 seconds")
          yield* client.get("http://orders/3")
          yield* elapse("59 seconds")
          assert.deepEqual(log, ["follow"])
          yield* elapse("1 second")
          assert.deepEqual(log, ["follow", "stop"])
          yield* client.get("http://orders/4")
          assert.deepEqual(log, ["follow", "stop", "follow"])
        }).pipe(
          Effect.scoped,
          Effect.provide(FetchHttpClient.layer),
          Effect.provide(three),
          Effect.provideService(FetchHttpClient.Fetch, fake.fetch)
        )
        assert.deepEqual(log, ["follow", "stop", "follow", "stop"])
        assert.equal(fake.sent.length, 4)
      })
  )

  verify(
    "DiscoveryHttpClient with the option service resolves only relative URLs and the service's name",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        yield* using(
          fake,
          Effect.forEach(["/1", "2?x=y", "http://orders/3", "http://odd/4"], (url) => HttpClient.get(url)),
          { service: "orders", strategy: Balancer.filter(({ id }) => id === "orders-3")(Balancer.roundRobin) }
        )
        assert.deepEqual(fake.sent.map(({ url }) => url), [
          "http://c/1",
          "http://c/2?x=y",
          "http://c/3",
          "http://odd/4"
        ])
      })
  )

  verify(
    "DiscoveryHttpClient retries repeatable requests on another instance, and returns the last response if all fail",
    () =>
      Effect.gen(function* () {
        let cancelled = 0
        const unwell = () => new Response(new ReadableStream({ cancel: () => void cancelled++ }), { status: 503 })
        const flaky = fakeFetch(() =>
          flaky.sent.length === 1 ? reset() : flaky.sent.length === 2 ? unwell() : new Response("ok")
        )
        assert.equal(yield* using(flaky, Effect.flatMap(HttpClient.get("http://orders/"), text)), "ok")
        assert.deepEqual(new Set(flaky.hosts()), new Set(["a", "b", "c"]))
        // The responses of earlier attempts are discarded.
        assert.equal(cancelled, 1)

        const down = fakeFetch(unwell)
        const { status } = yield* using(down, HttpClient.del("http://orders/7"))
        assert.deepEqual([status, down.sent.length, cancelled], [503, 3, 3])

        const gone = fakeFetch(reset)
        const error = yield* Effect.flip(using(gone, HttpClient.put("http://orders/", { body: HttpBody.text("new") })))
        assert.equal(HttpClientError.isHttpClientError(error) && error.reason._tag, "TransportError")
        assert.match(error.message, /no attempt is left \(orders-\d after .*; orders-\d after .*; orders-\d after /)
        assert.deepEqual(gone.sent.map(({ body }) => body), ["new", "new", "new"])
      })
  )

  verify(
    "DiscoveryHttpClient retries other requests only after a refused connection",
    () =>
      Effect.gen(function* () {
        const sendings = (answer: Answer, request: HttpClientRequest.HttpClientRequest) => {
          const fake = fakeFetch(answer)
          return Effect.map(Effect.exit(using(fake, HttpClient.execute(request))), () => fake.sent.length)
        }
        const post = HttpClientRequest.bodyText(HttpClientRequest.post("http://orders/"), "pay")
        assert.equal(yield* sendings(reset, post), 1)
        assert.equal(yield* sendings(() => new Response(null, { status: 503 }), post), 1)
        assert.equal(yield* sendings(reset, HttpClientRequest.setHeader(post, "Idempotency-Key", "7")), 3)
        for (const refused of refusals) assert.equal(yield* sendings(refused, post), 3)
        const streamed = HttpBody.raw(new Blob(["new"]).stream())
        assert.equal(
          yield* sendings(reset, HttpClientRequest.setBody(HttpClientRequest.put("http://orders/"), streamed)),
          1
        )
        // A 404 is a response.
        assert.equal(
          yield* sendings(() => new Response(null, { status: 404 }), HttpClientRequest.get("http://orders/")),
          1
        )
      })
  )

  verify(
    "DiscoveryHttpClient ejects an instance whose responses fail, also to requests that are not retried",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch(({ url }) => url.startsWith("http://b") ? reset() : new Response("ok"))
        yield* using(
          fake,
          Effect.repeat(Effect.exit(HttpClient.post("http://orders/")), { times: 59 }),
          { failureAccrual: { consecutive: 5 } }
        )
        assert.equal(fake.hosts().filter((host) => host === "b").length, 5)
      })
  )

  verify("DiscoveryHttpClient bounds each attempt and the whole request", () =>
    Effect.gen(function* () {
      let aborted = 0
      const hung = fakeFetch((_, signal) =>
        new Promise((_, reject) => {
          signal?.addEventListener("abort", () => {
            aborted++
            reject(signal.reason)
          })
        })
      )
      const call = yield* start(
        Effect.asVoid(
          using(hung, HttpClient.get("http://orders/"), { attemptTimeout: "1 second", timeout: "1500 millis" })
        )
      )
      yield* elapse("1500 millis")
      const exit = call.exit()
      assert.match(
        String(Option.getOrUndefined(Exit.findErrorOption(exit ?? Exit.void))),
        /no time is left .*within 1 s.*within 500 ms/
      )
      assert.deepEqual([hung.sent.length, aborted], [2, 2])
    }))

  verify(
    "DiscoveryHttpClient fails with NoInstanceAvailable as the cause, and with InvalidOption",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch()
        const error = yield* Effect.flip(using(fake, HttpClient.get("http://payments/")))
        assert.ok(HttpClientError.isHttpClientError(error) && error.reason._tag === "TransportError")
        assert.ok(error.reason.cause instanceof ServiceClient.NoInstanceAvailable)
        const refused = (options: DiscoveryHttpClient.Options) =>
          Effect.map(Effect.flip(using(fake, Effect.void, options)), ({ _tag }) => _tag)
        assert.equal(yield* refused({ attempts: 0 }), "InvalidOption")
        assert.equal(yield* refused({ service: "a/b" }), "InvalidOption")
        assert.equal(yield* refused({ services: { orders: "a/b" } }), "InvalidOption")
        assert.equal(yield* refused({ idleTimeToLive: -1 }), "InvalidOption")
        assert.equal(fake.sent.length, 0)
      })
  )

  verify(
    "DiscoveryHttpClient sends traceparent: each attempt is a span below the caller's",
    () =>
      Effect.gen(function* () {
        const { spans, tracer } = recordingTracer()
        const flaky = fakeFetch(() => flaky.sent.length === 1 ? reset() : new Response("ok"))
        yield* using(flaky, HttpClient.get("http://orders/")).pipe(
          Effect.withSpan("checkout"),
          Effect.provideService(Tracer.Tracer, tracer)
        )
        const [checkout, one, two] = spans
        assert.ok(checkout !== undefined && one !== undefined && two !== undefined)
        assert.deepEqual(
          flaky.sent.map(({ headers }) => headers.get("traceparent")),
          [one, two].map(({ spanId }) => `00-${checkout.traceId}-${spanId}-01`)
        )
        assert.deepEqual([one, two].map(({ parent }) => Option.map(parent, ({ spanId }) => spanId)), [
          Option.some(checkout.spanId),
          Option.some(checkout.spanId)
        ])
        assert.equal(one.attributes.get("discovery.service"), "orders")
        assert.notEqual(one.attributes.get("discovery.instance"), two.attributes.get("discovery.instance"))
      })
  )

  verify("DiscoveryHttpClient passes hashKey of a request to the strategy", () =>
    Effect.gen(function* () {
      const fake = fakeFetch()
      yield* using(
        fake,
        Effect.forEach(["x", "y", "z", "x", "y", "z"], (user) => HttpClient.get(`http://orders/${user}`)),
        { strategy: Balancer.consistentHash(), hashKey: ({ url }) => new URL(url).pathname }
      )
      const hosts = fake.hosts()
      assert.deepEqual(hosts.slice(0, 3), hosts.slice(3))
    }))

  verify("DiscoveryHttpClient leaves the scope of a response to the wrapped client", () =>
    Effect.gen(function* () {
      let signal: AbortSignal | undefined
      const fake = fakeFetch((_, given) => {
        signal = given
        return new Response("ok")
      })
      yield* Effect.scoped(Effect.gen(function* () {
        const client = yield* DiscoveryHttpClient.make(HttpClient.withScope(yield* HttpClient.HttpClient))
        yield* client.get("http://orders/")
        assert.equal(signal?.aborted, false)
      })).pipe(
        Effect.provide(FetchHttpClient.layer),
        Effect.provide(three),
        Effect.provideService(FetchHttpClient.Fetch, fake.fetch)
      )
      assert.equal(signal?.aborted, true)
    }))
})

describe("makeFetch", () => {
  /** A function like `fetch` over this one. */
  const fetchOver = ({ fetch }: { readonly fetch: typeof globalThis.fetch }) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => ManagedRuntime.make(layerOf(fetch))),
        (runtime) => runtime.disposeEffect
      ),
      makeFetch
    )
  const attempt = <A>(run: () => Promise<A>) => Effect.promise(run)

  verify(
    "makeFetch sends method, headers and body of each kind as fetch does, and again in a retry",
    () =>
      Effect.gen(function* () {
        const flaky = fakeFetch(() =>
          flaky.sent.length % 2 === 1 ? reset() : new Response("ok", { headers: { x: "y" } })
        )
        const fetch = yield* fetchOver(flaky)
        const form = new FormData()
        form.set("field", "value")
        const bodies: ReadonlyArray<readonly [BodyInit, string]> = [
          ["text", "text"],
          [new URLSearchParams({ q: "1" }), "q=1"],
          [new TextEncoder().encode("bytes"), "bytes"],
          [new Blob(["blob"], { type: "image/png" }), "blob"]
        ]
        for (const [body, text] of bodies) {
          // Bun adds the type of a string only when it sends it.
          const type = new Request("http://orders/", { method: "PUT", body }).headers.get("content-type")
          const response = yield* attempt(() => fetch("http://orders/x", { method: "PUT", body, headers: { a: "b" } }))
          assert.equal(yield* attempt(() => response.text()), "ok")
          assert.equal(response.headers.get("x"), "y")
          for (const sent of flaky.sent.splice(0)) {
            assert.equal(sent.method, "PUT")
            assert.deepEqual(
              [sent.body, sent.headers.get("content-type"), sent.headers.get("a")],
              [text, type, "b"]
            )
          }
        }
        yield* attempt(() =>
          fetch(new Request("http://orders/form", { method: "PUT", body: form }), { body: form, method: "PUT" })
        )
        // The sender sets the boundary between its fields.
        assert.deepEqual(flaky.sent.map(({ headers }) => headers.get("content-type")), [null, null])
        assert.deepEqual(flaky.sent.map(({ body }) => /name="field"\r\n\r\nvalue/.test(body ?? "")), [true, true])
      })
  )

  verify(
    "makeFetch resolves with any status, and rejects with a TypeError or the reason of its signal",
    () =>
      Effect.gen(function* () {
        const fake = fakeFetch(({ url }) => url.endsWith("/404") ? new Response("no", { status: 404 }) : reset())
        const fetch = yield* fetchOver(fake)
        assert.equal((yield* attempt(() => fetch("http://orders/404"))).status, 404)
        const error: unknown = yield* attempt(() => fetch("http://orders/").catch((error: unknown) => error))
        assert.ok(error instanceof TypeError)
        assert.match(error.message, /^fetch failed: Transport: cannot call "orders": no attempt is left/)
        const reason = new Error("enough")
        const early: unknown = yield* attempt(() =>
          fetch("http://orders/", { signal: AbortSignal.abort(reason) }).catch((error: unknown) => error)
        )
        assert.equal(early, reason)
        const controller = new AbortController()
        const hung = yield* fetchOver(fakeFetch((_, signal) =>
          new Promise((_, reject) => {
            signal?.addEventListener("abort", () => reject(signal.reason))
            controller.abort(reason)
          })
        ))
        const late: unknown = yield* attempt(() =>
          hung("http://orders/", { signal: controller.signal }).catch((error: unknown) => error)
        )
        assert.equal(late, reason)
      })
  )

  verify("makeFetch passes options to fetch, and ends the body with its signal", () =>
    Effect.gen(function* () {
      const inits: Array<RequestInit> = []
      const { fetch: base } = fakeFetch()
      const noting = Object.assign((input: RequestInfo | URL, init: RequestInit = {}) => {
        inits.push(init)
        return base(input, init)
      }, base)
      const fetch = yield* fetchOver({ fetch: noting })
      const controller = new AbortController()
      yield* attempt(() => fetch("http://orders/", { redirect: "manual", signal: controller.signal }))
      assert.equal(inits[0]?.redirect, "manual")
      assert.equal(inits[0]?.signal?.aborted, false)
      controller.abort()
      assert.equal(inits[0]?.signal?.aborted, true)
    }))

  verify("makeFetch continues the trace of its headers", () =>
    Effect.gen(function* () {
      const fake = fakeFetch()
      const fetch = yield* fetchOver(fake)
      const trace = "0af7651916cd43dd8448eb211c80319c"
      yield* attempt(() => fetch("http://orders/", { headers: { traceparent: `00-${trace}-b7ad6b7169203331-01` } }))
      assert.match(fake.sent[0]?.headers.get("traceparent") ?? "", new RegExp(`^00-${trace}-(?!b7ad6b7169203331)`))
    }))
})
