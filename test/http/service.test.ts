import { type Duration, Effect, Exit, Fiber, Layer, ManagedRuntime, References, Schedule, Scope } from "effect"
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
    // An idle connection stays: the end of one would meet a request on its way if the machine is busy.
    server.keepAliveTimeout = 0
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

/** The number of requests in flight. */
const width = 40

/** Requests that never pause, `width` at a time, until `end`. */
const load = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient
  const answers: Array<string> = []
  const failures: Array<string> = []
  let isOver = false
  const request = client.get("http://orders/").pipe(
    Effect.flatMap(({ status, text }) => status === 200 ? text : Effect.fail(new Error(`status ${status}`))),
    Effect.match({
      onSuccess: (answer) => void answers.push(answer),
      onFailure: ({ message }) => void failures.push(message)
    })
  )
  const worker = Effect.whileLoop({
    while: () => !isOver,
    body: () => Effect.andThen(request, pause(5)),
    step: () => {}
  })
  const workers = yield* Effect.forkScoped(
    Effect.all(Array.from({ length: width }, () => worker), { concurrency: width, discard: true })
  )
  /** Waits for a number of responses of an instance, or of any, from now on. */
  const awaitAnswers = (count: number, of?: string) =>
    Effect.gen(function* () {
      const from = answers.length
      const since = () => answers.slice(from).filter((answer) => of === undefined || answer === of)
      while (since().length < count) yield* pause(5)
      return answers.slice(from)
    })
  const end = Effect.andThen(Effect.sync(() => isOver = true), Fiber.join(workers))
  return { answers, awaitAnswers, end, failures }
})

describe("DiscoveryHttpClient against real servers", () => {
  live(
    "DiscoveryHttpClient loses no request under load when one of five is killed, one is added and one drains",
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
              yield* registerService("orders", { id, endpoints: [url], drain }).pipe(Scope.provide(own))
              return { arrivals, leave: Scope.close(own, Exit.void) }
            })
          const leaving = yield* join("leaving", "2 seconds")
          yield* Effect.forEach(["a", "b", "c"], (id) => join(id), { concurrency: 3 })
          const victim = yield* runProgram({
            file: new URL("programs/served.ts", import.meta.url),
            env: { ETCD_ENDPOINTS: etcd.endpoint, INSTANCE_ID: "victim" }
          })
          yield* victim.awaitLine("serving")

          const { answers, awaitAnswers, end, failures } = yield* load
          yield* awaitAnswers(50, "victim")
          yield* victim.signal("SIGKILL")
          yield* victim.exit
          yield* awaitAnswers(1000)

          yield* join("new")
          yield* awaitAnswers(10, "new")
          const later = yield* awaitAnswers(1000)
          const share = later.filter((answer) => answer === "new").length / later.length
          assert.ok(share > 0.1 && share < 0.4, `its share of five should be a fifth: ${share}`)

          yield* leaving.leave
          const arrived = leaving.arrivals.length
          yield* awaitAnswers(1000)
          yield* end
          assert.equal(leaving.arrivals.length, arrived)
          assert.deepEqual(failures, [])
          console.log(`${answers.length} requests, no failure`)
        }).pipe(
          Effect.scoped,
          // The ejection of the victim is logged as a warning.
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
    const unused = `http://127.0.0.1:${yield* freePort}`
    return DiscoveryHttpClient.layer({ backoff: Schedule.spaced(0), failureAccrual: false }).pipe(
      Layer.provide(FetchHttpClient.layer),
      Layer.provide(
        Registry.layerFixed([{ name: "orders", endpoints: [unused] }, { name: "orders", endpoints: [url] }])
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
