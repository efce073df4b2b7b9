import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect"
import * as connectNode from "@connectrpc/connect-node"
import { Deferred, Effect, Exit, Fiber, References, Scope } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { ConnectTransport } from "../../src/grpc/mod.ts"
import { connect } from "../../src/promise/mod.ts"
import { describe, live } from "../harness/it.ts"
import { attempt, eventually, freePort } from "../harness/real.ts"
import { type ConnectServer, Orders, serveConnect } from "./connectOrders.ts"

type OrdersClient = Client<typeof Orders>

const register = (id: string, { endpoint }: ConnectServer) => registerService("orders", { id, endpoints: [endpoint] })

/** The error of a call. Fails if it is not a `ConnectError`. */
const failed = (run: () => Promise<unknown>): Effect.Effect<ConnectError, unknown> =>
  Effect.map(Effect.flip(Effect.tryPromise({ try: run, catch: (error) => error })), (error) => {
    assert.ok(error instanceof ConnectError, String(error))
    return error
  })

const times = (count: number, run: () => Promise<{ readonly value: string }>) =>
  Effect.map(
    Effect.forEach(Array.from({ length: count }), () => attempt(run)),
    (answers) => {
      const ids = answers.map(({ value }) => value)
      return Object.fromEntries([...new Set(ids)].sort().map((id) => [id, ids.filter((one) => one === id).length]))
    }
  )

/** Calls until exactly these instances respond. */
const awaitInstances = (orders: OrdersClient, ...ids: ReadonlyArray<string>) =>
  eventually(Effect.flatMap(times(8, () => orders.get({ value: "1" })), (answers) => {
    const seen = Object.keys(answers).join()
    return seen === ids.join() ? Effect.void : Effect.fail(new Error(`${seen} responded`))
  }))

for (const protocol of ["grpc", "connect", "grpc-web"] as const) {
  /** A test with a client of the service, whose registry is in memory. */
  const withOrders = <E>(
    title: string,
    body: (orders: OrdersClient) => Effect.Effect<void, E, Registry.Registry | Scope.Scope>,
    options: Partial<ConnectTransport.Options<typeof connectNode>> = {}
  ) =>
    live(`ConnectTransport (${protocol}) ${title}`, () =>
      Effect.gen(function* () {
        const transport = yield* ConnectTransport.make(connectNode, {
          service: "orders",
          protocol,
          waitFor: "10 seconds",
          ...options
        })
        yield* body(createClient(Orders, transport))
      }).pipe(
        Effect.provide(Registry.layerMemory()),
        Effect.provideService(References.MinimumLogLevel, "Error")
      ))

  describe(`ConnectTransport (${protocol}) against servers of ConnectRPC`, () => {
    withOrders(
      "gives instances calls in turn, follows new ones, and leaves draining ones",
      (orders) =>
        Effect.gen(function* () {
          const [a, b] = [yield* serveConnect("a"), yield* serveConnect("b")]
          yield* register("a", a)
          yield* awaitInstances(orders, "a")
          const second = yield* register("b", b)
          yield* awaitInstances(orders, "a", "b")
          assert.deepEqual(yield* times(10, () => orders.pay({ value: "1" })), { a: 5, b: 5 })
          yield* second.drain
          yield* awaitInstances(orders, "a")
          const { length } = b.calls
          assert.deepEqual(yield* times(10, () => orders.pay({ value: "1" })), { a: 10 })
          assert.equal(b.calls.length, length)
        })
    )

    withOrders(
      "passes an error of the service on, without a retry and without an ejection",
      (orders) =>
        Effect.gen(function* () {
          const a = yield* serveConnect("a", {
            pay: () => {
              throw new ConnectError("no money", Code.InvalidArgument)
            }
          })
          yield* register("a", a)
          for (let call = 0; call < 8; call++) {
            const error = yield* failed(() => orders.pay({ value: "1" }))
            assert.deepEqual([error.code, error.rawMessage], [Code.InvalidArgument, "no money"])
          }
          assert.deepEqual(a.calls, Array.from({ length: 8 }, () => "Pay"))
        })
    )

    withOrders("retries an idempotent method after UNAVAILABLE, and no other", (orders) =>
      Effect.gen(function* () {
        const busy = () => {
          throw new ConnectError("busy", Code.Unavailable)
        }
        const a = yield* serveConnect("a", { get: busy, pay: busy })
        yield* register("a", a)
        assert.equal((yield* failed(() => orders.pay({ value: "1" }))).code, Code.Unavailable)
        assert.deepEqual(a.calls, ["Pay"])
        assert.equal((yield* failed(() => orders.get({ value: "1" }))).rawMessage, "busy")
        assert.deepEqual(a.calls, ["Pay", "Get", "Get", "Get"])
      }))

    withOrders(
      "retries every call after a refused connection, since nothing was sent",
      (orders) =>
        Effect.gen(function* () {
          yield* registerService("orders", { id: "gone", endpoints: [`http://127.0.0.1:${yield* freePort}`] })
          const error = yield* failed(() => orders.pay({ value: "1" }, { timeoutMs: 300 }))
          assert.ok(error.code === Code.Unavailable || error.code === Code.DeadlineExceeded, error.message)
          yield* register("a", yield* serveConnect("a"))
          assert.deepEqual(yield* times(6, () => orders.pay({ value: "1" })), { a: 6 })
        })
    )

    withOrders(
      "keeps a stream at its instance, and counts it until its messages end",
      (orders) =>
        Effect.gen(function* () {
          yield* register("a", yield* serveConnect("a"))
          yield* register("b", yield* serveConnect("b"))
          yield* awaitInstances(orders, "a", "b")
          const ids = yield* attempt(async () => {
            const ids: Array<string> = []
            for (let stream = 0; stream < 4; stream++) {
              const seen = new Set<string>()
              for await (const { value } of orders.watch({ value: "20" })) seen.add(value)
              ids.push([...seen].join())
            }
            return ids
          })
          assert.deepEqual(ids.sort(), ["a", "a", "b", "b"])
        })
    )

    withOrders(
      "lets a stream end after its instance has left, and ends one that its reader leaves",
      (orders) =>
        Effect.gen(function* () {
          const release = yield* Deferred.make<void>()
          const ended = yield* Deferred.make<void>()
          const a = yield* serveConnect("a", {
            async *watch({ value }, { signal }) {
              yield { value: "first" }
              if (value === "endless") {
                await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))
                Deferred.doneUnsafe(ended, Effect.void)
              } else await Effect.runPromise(Deferred.await(release))
              yield { value: "last" }
            }
          })
          const scope = yield* Scope.make()
          yield* register("a", a).pipe(Scope.provide(scope))
          const messages = orders.watch({ value: "1" })[Symbol.asyncIterator]()
          assert.equal((yield* attempt(() => messages.next())).value?.value, "first")
          yield* attempt(async () => {
            for await (const { value } of orders.watch({ value: "endless" })) if (value === "first") break
          })
          yield* Deferred.await(ended)
          yield* register("b", yield* serveConnect("b"))
          yield* Scope.close(scope, Exit.void)
          yield* awaitInstances(orders, "b")
          yield* Deferred.succeed(release, undefined)
          assert.equal((yield* attempt(() => messages.next())).value?.value, "last")
          assert.equal((yield* attempt(() => messages.next())).done, true)
        })
    )

    withOrders(
      "fails with canceled after an abort, and with deadline_exceeded after timeoutMs",
      (orders) =>
        Effect.gen(function* () {
          const aborted = yield* Deferred.make<void>()
          const a = yield* serveConnect("a", {
            pay: (_, { signal }) =>
              new Promise((resolve) =>
                signal.addEventListener("abort", () => {
                  Deferred.doneUnsafe(aborted, Effect.void)
                  resolve({ value: "late" })
                })
              )
          })
          yield* register("a", a)
          const controller = new AbortController()
          const call = yield* Effect.forkChild(
            failed(() => orders.pay({ value: "1" }, { signal: controller.signal })),
            {
              startImmediately: true
            }
          )
          yield* eventually(Effect.suspend(() => a.calls.length === 1 ? Effect.void : Effect.fail("not arrived")))
          controller.abort()
          assert.equal((yield* Fiber.join(call)).code, Code.Canceled)
          yield* Deferred.await(aborted)
          assert.equal(
            (yield* failed(() => orders.pay({ value: "1" }, { timeoutMs: 100 }))).code,
            Code.DeadlineExceeded
          )
        })
    )

    withOrders("fails with unavailable and the reason if there is no instance", (orders) =>
      Effect.gen(function* () {
        const error = yield* failed(() => orders.get({ value: "1" }))
        assert.equal(error.code, Code.Unavailable)
        assert.match(error.message, /^\[unavailable\] cannot call "orders": no instance takes traffic/)
        assert.deepEqual(error.findDetails(Orders.method.get.input), [])
        const stream = yield* failed(async () => {
          for await (const _ of orders.watch({ value: "1" }));
        })
        assert.equal(stream.code, Code.Unavailable)
      }), { waitFor: 0 })
  })
}

describe("ConnectTransport", () => {
  live("ConnectTransport carries a bidirectional stream over gRPC", () =>
    Effect.gen(function* () {
      yield* register("a", yield* serveConnect("a"))
      const transport = yield* ConnectTransport.make(connectNode, { service: "orders" })
      const answers = yield* attempt(async () => {
        const requests = async function* () {
          for (const value of ["1", "2", "3"]) yield await Promise.resolve({ value })
        }
        const answers: Array<string> = []
        for await (const { value } of createClient(Orders, transport).chat(requests())) answers.push(value)
        return answers
      })
      assert.deepEqual(answers, ["a 1", "a 2", "a 3"])
    }).pipe(Effect.provide(Registry.layerMemory())))

  live("ConnectTransport.make refuses invalid options before anything is sent", () =>
    Effect.gen(function* () {
      const invalid = [[{ protocol: "soap" }, "protocol"], [{ attempts: 0 }, "attempts"], [{ service: "/" }, "service"]]
      for (const [options, option] of invalid) {
        const made = ConnectTransport.make(connectNode, { service: "orders", ...options as object })
        assert.equal((yield* Effect.flip(made)).option, option)
      }
      const error = yield* Effect.flip(ConnectTransport.make({} as typeof connectNode, { service: "orders" }))
      assert.equal(error.option, "connectNode")
    }).pipe(Effect.provide(Registry.layerMemory())))

  live(
    "connectTransport of ./promise makes a transport that works until the connection closes",
    () =>
      Effect.gen(function* () {
        const a = yield* serveConnect("a")
        const discovery = yield* attempt(() => connect({ memory: true }))
        yield* attempt(() => discovery.register("orders", { endpoints: [a.endpoint] }))
        const orders = createClient(
          Orders,
          yield* attempt(() => discovery.connectTransport(connectNode, { service: "orders" }))
        )
        assert.equal((yield* attempt(() => orders.get({ value: "1" }))).value, "a")
        yield* attempt(() => discovery.close())
        const error = yield* failed(() => orders.get({ value: "1" }))
        assert.match(error.message, /^\[unavailable\] cannot call "orders": the scope of the client is closed/)
      })
  )
})
