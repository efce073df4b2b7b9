/**
 * The service `orders` for tests: a server of grpc-js that responds with its id, and a client.
 *
 * @module
 */
import * as grpc from "@grpc/grpc-js"
import { Effect, type Scope } from "effect"
import { toError } from "../harness/real.ts"

const serialize = (text: string) => Buffer.from(text)
const deserialize = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

const definition: grpc.ServiceDefinition = {
  Get: {
    path: "/orders.Orders/Get",
    requestStream: false,
    responseStream: false,
    requestSerialize: serialize,
    requestDeserialize: deserialize,
    responseSerialize: serialize,
    responseDeserialize: deserialize
  }
}

/** A server of the service. */
export interface OrdersServer {
  /** Its endpoint, such as `grpc://127.0.0.1:50051`. */
  readonly endpoint: string
  /** The number of calls that have arrived. */
  readonly calls: () => number
}

/** The response of a handler, or the status with which it fails. */
export type Answer = (request: string) => string | Partial<grpc.StatusObject> | Promise<string>

/** A server on a free port, until the scope closes. It lets calls in flight end. */
export const serve = (id: string, answer: Answer = () => id): Effect.Effect<OrdersServer, Error, Scope.Scope> =>
  Effect.gen(function* () {
    let calls = 0
    const server = new grpc.Server()
    server.addService(definition, {
      Get: async (call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) => {
        calls += 1
        const answered = await answer(call.request)
        if (typeof answered === "string") done(null, answered)
        else done(answered)
      }
    })
    const port = yield* Effect.acquireRelease(
      Effect.callback<number, Error>((resume) =>
        server.bindAsync(
          "127.0.0.1:0",
          grpc.ServerCredentials.createInsecure(),
          (error, port) => resume(error === null ? Effect.succeed(port) : Effect.fail(error))
        )
      ),
      () =>
        Effect.callback<void>((resume) => server.tryShutdown(() => resume(Effect.void))).pipe(
          Effect.timeoutOption("5 seconds"),
          Effect.andThen(Effect.sync(() => server.forceShutdown()))
        )
    )
    return { endpoint: `grpc://127.0.0.1:${port}`, calls: () => calls }
  })

/** A client of the service. */
export interface OrdersClient {
  readonly get: (request: string) => Effect.Effect<string, grpc.ServiceError>
}

/** A client of a target, until the scope closes. A call takes thirty seconds at most. */
export const clientOf = (
  target: string,
  options: grpc.ChannelOptions = {}
): Effect.Effect<OrdersClient, Error, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.try({ try: () => new grpc.Client(target, grpc.credentials.createInsecure(), options), catch: toError }),
      (client) => Effect.sync(() => client.close())
    ),
    (client) => ({
      get: (request) =>
        Effect.callback((resume) => {
          const call = client.makeUnaryRequest(
            "/orders.Orders/Get",
            serialize,
            deserialize,
            request,
            { deadline: Date.now() + 30_000 },
            (error, answer) => resume(error === null ? Effect.succeed(answer ?? "") : Effect.fail(error))
          )
          return Effect.sync(() => call.cancel())
        })
    })
  )
