import {
  Deferred,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  ManagedRuntime,
  References,
  Schedule,
  Scope
} from "effect"
import { FetchHttpClient, HttpBody, HttpClient } from "effect/http"
import assert from "node:assert/strict"
import { createServer } from "node:http"
import { registerService, Registry } from "../../mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../src/http/mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { freePort, pause } from "../harness/real.ts"

interface Server {
  readonly url: string
  /** When requests arrived, in milliseconds. */
  readonly arrivals: ReadonlyArray<number>
}

/** An HTTP server that responds with `answer`, until the scope closes. */
const serve = (answer: string): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const arrivals: Array<number> = []
    const server = createServer((request, response) => {
      arrivals.push(performance.now())
      request.resume()
      if (request.url !== "/endless") return void request.on("end", () => response.end(answer))
      response.write(answer)
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
    return { url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`, arrivals }
  })

/** One request of the load: when it was sent, and its response or failure. */
interface Sent {
  readonly at: number
  answer: string | undefined
  failure: string | undefined
}

/**
 * Sends `perSecond` requests a second without waiting for responses, until `until` is done. `done` completes with the last
 * response.
 */
const load = (perSecond: number, until: Deferred.Deferred<void>) =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const sent: Array<Sent> = []
    const request = Effect.suspend(() => {
      const one: Sent = { at: performance.now(), answer: undefined, failure: undefined }
      sent.push(one)
      return client.get("http://orders/").pipe(
        Effect.flatMap(({ status, text }) => status === 200 ? text : Effect.fail(new Error(`status ${status}`))),
        Effect.match({
          onSuccess: (answer) => {
            one.answer = answer
          },
          onFailure: (error) => {
            one.failure = error.message
          }
        })
      )
    })
    const sending = Effect.gen(function* () {
      const begun = performance.now()
      while (!Deferred.isDoneUnsafe(until)) {
        // A busy machine wakes late. Send all that is due.
        const due = (performance.now() - begun) / 1000 * perSecond - sent.length
        for (let one = 1; one <= due; one++) yield* Effect.forkScoped(request, { startImmediately: true })
        yield* pause(5)
      }
    })
    return { sent, done: Effect.scoped(Effect.andThen(sending, drained(sent))) }
  })

const isInFlight = ({ answer, failure }: Sent): boolean => answer === undefined && failure === undefined

const drained = (sent: ReadonlyArray<Sent>): Effect.Effect<void> =>
  Effect.gen(function* () {
    while (sent.some(isInFlight)) yield* pause(5)
  })

describe("DiscoveryHttpClient against real servers", () => {
  live(
    "DiscoveryHttpClient loses no request of 500 a second when one of five is killed, one is added and one drains",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const registry = Registry.layerEtcd({ endpoints: [etcd.endpoint] })
        yield* Effect.gen(function* () {
          const scope = yield* Effect.scope
          /** Serves and registers. `leave` deregisters in good order and keeps serving. */
          const join = (id: string, drain: Duration.Input = 0) =>
            Effect.gen(function* () {
              const { arrivals, url } = yield* serve(id)
              const own = yield* Scope.fork(scope)
              yield* registerService("orders", { id, endpoints: [url], drain }).pipe(
                Scope.provide(own)
              )
              return { arrivals, leave: Scope.close(own, Exit.void) }
            })
          const leaving = yield* join("leaving", "2 seconds")
          yield* Effect.forEach(["a", "b", "c"], (id) => join(id), { concurrency: 3 })
          const victim = yield* runProgram({
            file: new URL("programs/served.ts", import.meta.url),
            env: { ETCD_ENDPOINTS: etcd.endpoint, INSTANCE_ID: "victim" }
          })
          yield* victim.awaitLine("serving")

          const begun = performance.now()
          const end = yield* Deferred.make<void>()
          const { done, sent } = yield* load(500, end)
          const loading = yield* Effect.forkScoped(done)
          const answeredBy = (id: string, from: number, to = Infinity) =>
            sent.filter(({ answer, at }) => answer === id && at >= from && at < to).length

          yield* pause(1000)
          const killed = performance.now()
          yield* victim.signal("SIGKILL")
          yield* victim.exit
          yield* pause(1000)
          // The victim did get requests.
          assert.ok(answeredBy("victim", 0, killed) > 0)

          yield* join("new")
          const joined = performance.now()
          yield* pause(2000)
          const second = sent.filter(({ at }) => at >= joined + 1000 && at < joined + 2000)
          const share = answeredBy("new", joined + 1000, joined + 2000) / second.length
          assert.ok(share > 0.1 && share < 0.4, `its share of five should be a fifth: ${share}`)

          yield* leaving.leave
          const left = performance.now()
          yield* pause(500)
          yield* Deferred.succeed(end, undefined)
          yield* Fiber.join(loading)
          assert.equal(leaving.arrivals.filter((at) => at > left).length, 0)
          assert.deepEqual(sent.flatMap(({ at, failure }) => failure === undefined ? [] : [`${at}: ${failure}`]), [])
          // A process that is too slow for the load does not reach the rate.
          const rate = sent.length / (performance.now() - begun) * 1000
          console.log(`${sent.length} requests, ${Math.round(rate)} a second, no failure`)
          assert.ok(rate >= 400, `only ${rate} requests a second`)
        }).pipe(
          Effect.scoped,
          // That the victim is ejected is logged as a warning.
          Effect.provideService(References.MinimumLogLevel, "Error"),
          Effect.provide(
            DiscoveryHttpClient.layer({ attempts: 3 }).pipe(
              Layer.provide(FetchHttpClient.layer),
              Layer.provideMerge(registry)
            )
          )
        )
      })
  )

  /** A service of two instances, the first of which is down. */
  const half = Effect.gen(function* () {
    const { url } = yield* serve("well")
    const nobody = `http://127.0.0.1:${yield* freePort}`
    return DiscoveryHttpClient.layer({ backoff: Schedule.spaced(0), failureAccrual: false }).pipe(
      Layer.provide(FetchHttpClient.layer),
      Layer.provide(
        Registry.layerFixed([{ name: "orders", endpoints: [nobody] }, { name: "orders", endpoints: [url] }])
      )
    )
  })

  live(
    "DiscoveryHttpClient retries a POST after a refused connection of this runtime's fetch",
    () =>
      Effect.gen(function* () {
        const post = Effect.flatMap(
          HttpClient.post("http://orders/", { body: HttpBody.text("pay") }),
          (response) => response.text
        )
        const answers = yield* Effect.provide(Effect.all([post, post, post, post]), yield* half)
        assert.deepEqual(answers, ["well", "well", "well", "well"])
      })
  )

  live(
    "makeFetch works like the fetch of this runtime, and its signal ends the body",
    () =>
      Effect.gen(function* () {
        const layer = yield* half
        const runtime = yield* Effect.acquireRelease(
          Effect.sync(() => ManagedRuntime.make(layer)),
          (runtime) => runtime.disposeEffect
        )
        yield* Effect.promise(async () => {
          const fetch = makeFetch(runtime)
          for (const body of [null, "text", new URLSearchParams({ q: "1" })]) {
            const response = await fetch("http://orders/", { method: body === null ? "GET" : "POST", body })
            assert.deepEqual([response.status, await response.text()], [200, "well"])
          }
          const controller = new AbortController()
          const response = await fetch("http://orders/endless", { signal: controller.signal })
          const reader = response.body?.getReader()
          assert.equal(new TextDecoder().decode((await reader?.read())?.value), "well")
          controller.abort()
          await assert.rejects(async () => await reader?.read(), { name: "AbortError" })
        })
      })
  )
})
