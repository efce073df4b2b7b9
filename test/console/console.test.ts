import { Deferred, Effect, Latch, Layer, Redacted, Ref, type Scope, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { WebConsole } from "../../src/console/mod.ts"
import { serve } from "../../src/console/serve.ts"
import { Lock } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdError, EtcdMemory } from "../../src/etcd/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe, live } from "../harness/it.ts"
import { attempt, eventually } from "../harness/real.ts"

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

interface Console {
  readonly handler: (request: Request) => Promise<Response>
  readonly get: (path: string, headers?: Record<string, string>) => Effect.Effect<Answer, Error>
}

/** The console as a web handler, without a port. */
const open = (
  options: WebConsole.Options = {}
): Effect.Effect<Console, never, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const etcd = yield* Etcd
    const { handler } = yield* Effect.acquireRelease(
      Effect.sync(() =>
        HttpRouter.toWebHandler(
          WebConsole.layer(options).pipe(
            Layer.provide(Layer.succeed(Etcd, etcd)),
            Layer.orDie,
            Layer.provide(HttpServer.layerServices)
          ),
          { disableLogger: true }
        )
      ),
      ({ dispose }) => Effect.promise(() => dispose())
    )
    return {
      handler,
      get: (path, headers = {}) =>
        attempt(async () => {
          const response = await handler(
            new Request(`http://localhost${path}`, { headers: { host: "localhost", ...headers } })
          )
          return { status: response.status, headers: response.headers, text: await response.text() }
        })
    }
  })

/** Runs a test with an engine and a registry on it. */
const withEngine = <E>(test: Effect.Effect<void, E, Etcd | Registry.Registry | Scope.Scope>): Effect.Effect<void, E> =>
  test.pipe(Effect.scoped, Effect.provide(Registry.layer().pipe(Layer.orDie, Layer.provideMerge(EtcdMemory.layer()))))

/** Reads a page until it contains a text. */
const until = (console: Console, path: string, text: string): Effect.Effect<string, Error> =>
  eventually(
    Effect.flatMap(console.get(path), (answer) =>
      answer.text.includes(text) ?
        Effect.succeed(answer.text) :
        Effect.fail(new Error(`${path} lacks ${text}: ${answer.text}`)))
  )

/** The data of the events of a stream, one after the other. */
const eventsOf = (
  console: Console,
  path: string
): Stream.Stream<{ readonly name: string; readonly data: string }, Error> =>
  Stream.unwrap(Effect.gen(function* () {
    const controller = new AbortController()
    yield* Effect.addFinalizer(() => Effect.sync(() => controller.abort()))
    const response = yield* attempt(() =>
      console.handler(
        new Request(`http://localhost${path}`, { headers: { host: "localhost" }, signal: controller.signal })
      )
    )
    assert.equal(response.headers.get("content-type"), "text/event-stream")
    return Stream.fromReadableStream({
      evaluate: () => response.body as ReadableStream<Uint8Array>,
      onError: (cause) => cause instanceof Error ? cause : new Error(String(cause))
    }).pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.mapAccum(() => ({ name: "", data: "" }), (event, line) => {
        const [, field, value = ""] = /^(\w+): ?(.*)$/.exec(line) ?? []
        if (field === "event") return [{ ...event, name: value }, []]
        if (field === "data") return [{ ...event, data: value }, []]
        return line === "" ? [{ name: "", data: "" }, [event]] : [event, []]
      })
    )
  }))

const versionOf = (page: string): string => /data-version="(\w+)"/.exec(page)?.[1] ?? ""

const hostile = `"><img src=x onerror=pwned=1><script>pwned=1</script>\u202e' onload='pwned=1`

describe("console", () => {
  live(
    "WebConsole shows a service, its instances, and one instance with its value",
    () =>
      withEngine(Effect.gen(function* () {
        yield* registerService("orders", {
          id: "a",
          endpoints: ["http://10.0.0.5:8080"],
          version: "1.2.3",
          zone: "z1",
          metadata: { team: "blue" }
        })
        const console = yield* open()
        yield* until(console, "/services", "orders")
        const service = yield* until(console, "/services/orders", "http://10.0.0.5:8080")
        for (const text of ["1.2.3", "z1", "blue", ">up<"]) assert.ok(service.includes(text), text)
        const instance = yield* until(console, "/services/orders/a", "/services/orders/a")
        for (const text of ["History of the value", "The key was written once.", "s left of 15 s"]) {
          assert.ok(instance.includes(text), text)
        }
        assert.match(service, /as of revision \d+, confirmed/)
      }))
  )

  live(
    "WebConsole shows why a value is rejected and what changed between two values",
    () =>
      withEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const key = "/services/orders/b"
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.put({ key, value: `{"endpoints":["http://b:80"],"version":"1"}`, lease })
        yield* etcd.put({ key, value: `{"endpoints":"http://b:80"}`, lease })
        const console = yield* open()
        const page = yield* until(console, "/services/orders/b", "rejected")
        assert.match(page, /Callers do not see this key/)
        assert.ok(page.includes("<del>  &quot;version&quot;: &quot;1&quot;</del>"))
        assert.match(yield* until(console, "/services/orders", "rejected"), /data-label="Why"/)
      }))
  )

  live(
    "WebConsole lists keys, leases, locks with their queue, and the member of etcd",
    () =>
      withEngine(Effect.gen(function* () {
        yield* registerService("orders", { id: "a", endpoints: ["http://a:80"] })
        const held = yield* Deferred.make<void>()
        yield* Effect.forkScoped(
          Lock.withLock("/locks/report")(Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
        )
        yield* Deferred.await(held)
        yield* Effect.forkScoped(Lock.withLock("/locks/report")(Effect.never))
        const console = yield* open()
        assert.match(yield* until(console, "/keys?prefix=%2F", "/services/"), /services\//)
        assert.match(yield* until(console, "/keys?prefix=%2Fservices%2Forders%2F", ">a<"), /1 key with this prefix/)
        yield* until(console, "/leases", "/services/orders/a")
        const lines = yield* until(console, "/coordination", "2 contenders")
        assert.match(lines, /holds<\/span>/)
        assert.match(lines, /waits, 1 of 1<\/span>/)
        yield* until(console, "/cluster", "revision")
      }))
  )

  live("WebConsole hides values outside the namespace unless values is all", () =>
    withEngine(Effect.gen(function* () {
      const etcd = yield* Etcd
      yield* etcd.put({ key: "/secrets/database", value: "hunter2" })
      const path = "/keys?key=%2Fsecrets%2Fdatabase"
      const hidden = yield* until(yield* open(), path, "The value is hidden")
      assert.ok(!hidden.includes("hunter2"))
      yield* until(yield* open({ values: "all" }), path, "hunter2")
    })))

  live(
    "WebConsole escapes hostile names, metadata, endpoints and values on every page",
    () =>
      withEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const name = `x"'<b>${hostile.replaceAll("/", "")}`
        yield* registerService(name, {
          id: name,
          endpoints: ["http://a:80"],
          version: hostile,
          zone: hostile,
          metadata: { [hostile]: hostile }
        })
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.put({ key: `/services/${name}/${hostile}`, value: hostile, lease })
        yield* etcd.put({ key: `/locks/${hostile}/${lease.toString(16)}`, value: hostile, lease })
        yield* etcd.put({ key: `/services/${hostile}`, value: hostile })
        const console = yield* open({ values: "all" })
        yield* until(console, "/services", "onerror")
        const segment = encodeURIComponent(name)
        const query = encodeURIComponent(hostile)
        const paths = [
          "/",
          `/services?q=${query}&sort=${query}&state=${query}&page=${query}`,
          `/services/${segment}?version=${query}`,
          `/services/${segment}/${segment}`,
          `/services/${segment}/${encodeURIComponent(hostile)}`,
          `/timeline?q=${query}`,
          `/keys?prefix=${query}`,
          "/keys?prefix=%2Fservices%2F",
          `/keys?key=${encodeURIComponent(`/services/${hostile}`)}`,
          "/leases",
          "/coordination",
          `/coordination?prefix=${query}`,
          `/${query}`
        ]
        for (const path of paths) {
          const { text } = yield* console.get(path)
          assert.ok(text.includes("</html>"), path)
          assert.ok(!text.includes("<img"), path)
          assert.equal(text.match(/<script/g)?.length, 1, path)
          for (const tag of text.match(/<[a-z][^>]*>/g) ?? []) {
            assert.ok(!/\son[a-z]+=/.test(tag.replace(/"[^"]*"/g, "")), tag)
          }
        }
      }))
  )

  live("WebConsole never shows an unknown set as empty", () =>
    withEngine(Effect.gen(function* () {
      const { etcd, faults } = yield* FaultyEtcd.make(yield* Etcd)
      yield* faults.outage
      const console = yield* open().pipe(Effect.provideService(Etcd, etcd))
      for (const path of ["/", "/services", "/services/orders", "/keys", "/leases", "/coordination", "/cluster"]) {
        const { text } = yield* console.get(path)
        assert.match(text, /Nothing known yet/, path)
        assert.match(text, /etcd has not answered/, path)
        assert.ok(!/holds no service|at this revision/.test(text), path)
        const json = yield* console.get(`${path}?format=json`)
        assert.equal(json.status, 503, path)
      }
      yield* faults.clear
      yield* until(console, "/services", "holds no service at this revision")
    })))

  live(
    "WebConsole shows the last state and its age during an outage, and recovers",
    () =>
      withEngine(Effect.gen(function* () {
        const { etcd, faults } = yield* FaultyEtcd.make(yield* Etcd)
        yield* registerService("orders", { id: "a", endpoints: ["http://a:80"] })
        const console = yield* open({ staleAfter: "1 seconds", disconnectedAfter: "6 seconds" }).pipe(
          Effect.provideService(Etcd, etcd)
        )
        yield* until(console, "/services", `class="known live"`)
        yield* faults.outage
        assert.match(yield* until(console, "/services", `class="known stale"`), /orders/)
        assert.match(yield* until(console, "/services", `class="known disconnected"`), /orders/)
        yield* faults.clear
        yield* until(console, "/services", `class="known live"`)
      }))
  )

  live("WebConsole sends only the rows that changed to a live page", () =>
    withEngine(Effect.gen(function* () {
      yield* registerService("orders", { id: "a", endpoints: ["http://a:80"] })
      const console = yield* open()
      const page = yield* until(console, "/services/orders", ">a<")
      const seen = yield* Deferred.make<ReadonlyArray<string>>()
      const path = `/events?page=${encodeURIComponent("/services/orders")}&from=${versionOf(page)}`
      const connected = yield* Deferred.make<void>()
      yield* eventsOf(console, path).pipe(
        Stream.runForEach(({ data, name }) =>
          Effect.gen(function* () {
            assert.equal(name, "patch")
            yield* Deferred.succeed(connected, undefined)
            const patch = JSON.parse(data)
            const table = patch.tables.find(({ id }: { id: string }) => id === "instances")
            if (table !== undefined) {
              assert.deepEqual(table.order, ["a", "b"])
              yield* Deferred.succeed(seen, table.rows.map(([key]: readonly [string]) => key))
            }
          })
        ),
        Effect.forkScoped
      )
      yield* Deferred.await(connected)
      yield* registerService("orders", { id: "b", endpoints: ["http://b:80"] })
      assert.deepEqual(yield* Deferred.await(seen), ["b"])
    })))

  live(
    "WebConsole queues nothing for a page that is not read: one patch contains all missed changes",
    () =>
      withEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
        const put = (version: number) =>
          etcd.put({ key: "/services/orders/a", value: `{"endpoints":["http://a:80"],"version":"v${version}"}`, lease })
        yield* put(0)
        const console = yield* open()
        const page = yield* until(console, "/services/orders", "v0")
        const path = `/events?page=${encodeURIComponent("/services/orders")}&from=${versionOf(page)}`
        const received = yield* Ref.make<ReadonlyArray<string>>([])
        const reading = yield* Latch.make()
        yield* eventsOf(console, path).pipe(
          Stream.runForEach(({ data }) =>
            Effect.andThen(Ref.update(received, (all) => [...all, data]), Latch.await(reading))
          ),
          Effect.forkScoped
        )
        // Longer than the gap between two patches, so that a queue would take one for each.
        for (let version = 1; version <= 10; version++) yield* Effect.andThen(put(version), Effect.sleep("300 millis"))
        yield* Latch.open(reading)
        yield* eventually(Effect.flatMap(Ref.get(received), (all) =>
          all.some((data) =>
              data.includes("v10")
            ) ?
            Effect.void :
            Effect.fail(new Error(String(all.length)))))
        const missed = (yield* Ref.get(received)).filter((data) =>
          /v\d/.test(data)
        )
        assert.ok(missed.length <= 5, `${missed.length} patches`)
      }))
  )

  live(
    "WebConsole makes a page reload if its rendering is no longer kept",
    () =>
      withEngine(Effect.gen(function* () {
        const console = yield* open()
        yield* until(console, "/services", `class="known live"`)
        const first = yield* Stream.runHead(eventsOf(console, "/events?page=%2Fservices&from=unknown"))
        assert.equal(first._tag === "Some" ? first.value.name : undefined, "reload")
      }))
  )

  live(
    "WebConsole refuses foreign hosts, missing credentials and writes, and sends its policy with every answer",
    () =>
      withEngine(Effect.gen(function* () {
        const console = yield* open({ auth: { token: Redacted.make("s3cret") } })
        const answers = [
          yield* console.get("/", { host: "evil.example" }),
          yield* console.get("/services"),
          yield* console.get("/events?page=%2F"),
          yield* console.get("/", { authorization: "Bearer s3cret" }),
          yield* console.get("/nothing", { authorization: "Bearer s3cret" })
        ]
        assert.deepEqual(answers.map(({ status }) => status), [421, 401, 401, 200, 404])
        for (const { headers } of answers) {
          assert.match(headers.get("content-security-policy") ?? "", /^default-src 'none'; script-src 'self';/)
          assert.equal(headers.get("x-content-type-options"), "nosniff")
        }
        assert.match(answers[1]?.headers.get("www-authenticate") ?? "", /^Basic /)
        // A runtime may have the name in the URL only.
        const named = yield* Effect.forEach(["evil.example", "localhost"], (name) =>
          attempt(() =>
            console.handler(new Request(`http://${name}/`, { headers: { authorization: "Bearer s3cret" } }))
          ))
        assert.deepEqual(
          named.map(({ status }) =>
            status
          ),
          [421, 200]
        )
        const post = yield* attempt(() =>
          console.handler(
            new Request("http://localhost/services", {
              method: "POST",
              headers: { host: "localhost", authorization: "Bearer s3cret", "sec-fetch-site": "same-origin" }
            })
          )
        )
        assert.equal(post.status, 403)
      }))
  )

  live(
    "WebConsole drains an instance from its page, which shows the progress (R12)",
    () =>
      withEngine(Effect.gen(function* () {
        yield* registerService("orders", { id: "a/b".replace("/", ":"), endpoints: ["http://a:80"], ttl: "2 seconds" })
        const console = yield* open({ allowWrites: true })
        const path = "/services/orders/a%3Ab"
        assert.match(yield* until(console, path, "Drain"), /<form method="post" action="\/services\/orders\/a%3Ab">/)
        const post = (body: string, more: Record<string, string> = {}) =>
          attempt(() => {
            const headers = {
              host: "localhost",
              "sec-fetch-site": "same-origin",
              "content-type": "application/x-www-form-urlencoded",
              "content-length": String(body.length),
              ...more
            }
            return console.handler(new Request(`http://localhost${path}`, { method: "POST", headers, body }))
          })
        const answer = yield* post("action=drain")
        assert.deepEqual([answer.status, answer.headers.get("location")], [303, path])
        assert.match(yield* until(console, path, "stored at revision"), /draining/)
        yield* until(console, path, "adopted: its owner")
        const refused = yield* Effect.forEach(
          [post("action=drain", { "sec-fetch-site": "cross-site" }), post("action=explode"), post("x".repeat(5000))],
          Effect.map(({ status }) => status)
        )
        assert.deepEqual(refused, [403, 400, 413])
        yield* post("action=weight&weight=-1")
        yield* until(console, path, "refused: cannot call Operator.edit")
      }))
  )

  live("WebConsole serves below a path, with links and assets below it", () =>
    withEngine(Effect.gen(function* () {
      const console = yield* open({ path: "/tools/console" })
      const page = yield* until(console, "/tools/console/", "Overview")
      for (const [, link = ""] of page.matchAll(/(?:href|src)="(\/[^"]*)"/g)) {
        assert.ok(link.startsWith("/tools/console/"), link)
      }
      const [, script = ""] = /src="([^"]+\.js)"/.exec(page) ?? []
      const asset = yield* console.get(script)
      assert.equal(asset.headers.get("content-type"), "text/javascript; charset=utf-8")
      assert.match(asset.headers.get("cache-control") ?? "", /immutable/)
      assert.equal((yield* console.get("/")).status, 404)
    })))

  live(
    "WebConsole.serve serves a page with 100 services and its assets in less than 25 kB",
    () =>
      withEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
        for (let index = 0; index < 100; index++) {
          yield* etcd.put({
            key: `/services/service-${index}/a`,
            value: `{"endpoints":["http://a:${index + 1}"]}`,
            lease
          })
        }
        const { port } = yield* serve(
          WebConsole.layer().pipe(Layer.orDie, Layer.provide(Layer.succeed(Etcd, etcd))),
          { port: 0 }
        )
        const fetchText = (path: string) =>
          attempt(() => fetch(`http://127.0.0.1:${port}${path}`).then((response) => response.text()))
        const page = yield* eventually(
          Effect.flatMap(fetchText("/services"), (text) =>
            text.includes("service-99") ? Effect.succeed(text) : Effect.fail(new Error(text)))
        )
        const size = (path: string) =>
          transferred(port, path)
        const assets = [...page.matchAll(/(?:href|src)="(\/[^"]+\.(?:css|js))"/g)].map(([, path = ""]) => path)
        assert.equal(assets.length, 2)
        const sizes = yield* Effect.forEach(["/services", ...assets], size)
        const total = sizes.reduce((sum, one) => sum + one, 0)
        assert.ok(total < 25_000, `${sizes.join(" + ")} = ${total} bytes`)
      }))
  )

  live("WebConsole.serve refuses a port above 65535", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(serve(Layer.empty, { port: 70_000 }))
      assert.match(
        error.message,
        /^cannot call WebConsole\.serve: port is 70000; it must be a whole number from 0 to 65535/
      )
    }))

  live("WebConsole shows what etcd refused if the user may read nothing", () =>
    withEngine(Effect.gen(function* () {
      const reason = new EtcdError.PermissionDenied({ detail: "permission denied" })
      const denied = Effect.fail(new EtcdError.EtcdError({ reason, method: "range" }))
      const etcd: Etcd = { ...yield* Etcd, range: () => denied }
      const console = yield* open().pipe(Effect.provideService(Etcd, etcd))
      const page = yield* until(console, "/services", "permission denied")
      assert.match(page, /class="known unknown"/)
    })))
})

/** The bytes of a body as they were sent. */
const transferred = (port: number, path: string): Effect.Effect<number, Error> =>
  attempt(async () => {
    const { get } = await import("node:http")
    return await new Promise<number>((resolve, reject) => {
      get({ host: "127.0.0.1", port, path, headers: { "accept-encoding": "gzip" }, agent: false }, (response) => {
        let bytes = 0
        response.on("data", (chunk: Uint8Array) => bytes += chunk.length)
        response.on("end", () => resolve(bytes))
      }).on("error", reject)
    })
  })
