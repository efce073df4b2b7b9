/**
 * The service `shop.Orders` of ConnectRPC for tests, without generated code, and its server over HTTP/2.
 *
 * @module
 */
import { create, createFileRegistry } from "@bufbuild/protobuf"
import type { GenService } from "@bufbuild/protobuf/codegenv2"
import {
  file_google_protobuf_wrappers,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
  type StringValueSchema
} from "@bufbuild/protobuf/wkt"
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect"
import { connectNodeAdapter } from "@connectrpc/connect-node"
import { Effect, type Scope } from "effect"
import { createServer, type ServerHttp2Session } from "node:http2"
import type { AddressInfo } from "node:net"

type Unary = { methodKind: "unary"; input: typeof StringValueSchema; output: typeof StringValueSchema }
type ServerStreaming = {
  methodKind: "server_streaming"
  input: typeof StringValueSchema
  output: typeof StringValueSchema
}
type BiDiStreaming = { methodKind: "bidi_streaming"; input: typeof StringValueSchema; output: typeof StringValueSchema }

const method = (name: string, options: object = {}) => ({
  name,
  inputType: ".google.protobuf.StringValue",
  outputType: ".google.protobuf.StringValue",
  ...options
})

const file = create(FileDescriptorProtoSchema, {
  name: "orders.proto",
  package: "shop",
  syntax: "proto3",
  dependency: ["google/protobuf/wrappers.proto"],
  service: [{
    name: "Orders",
    method: [
      method("Get", { options: { idempotencyLevel: MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS } }),
      method("Pay"),
      method("Watch", { serverStreaming: true }),
      method("Chat", { clientStreaming: true, serverStreaming: true })
    ]
  }]
})

const registry = createFileRegistry(
  create(FileDescriptorSetSchema, { file: [file_google_protobuf_wrappers.proto, file] })
)

/** The code that a generator would write to `orders_pb.ts`. */
export const Orders = registry.getService("shop.Orders") as GenService<{
  get: Unary
  pay: Unary
  watch: ServerStreaming
  chat: BiDiStreaming
}>

/** A server of the service. */
export interface ConnectServer {
  readonly endpoint: string
  /** The names of the methods that were called. */
  readonly calls: ReadonlyArray<string>
  /** Destroys all connections and stops listening. */
  readonly kill: Effect.Effect<void>
}

/** A server on a free port, until the scope closes. It responds with its id. */
export const serveConnect = (
  id: string,
  behaviour: Partial<ServiceImpl<typeof Orders>> = {}
): Effect.Effect<ConnectServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const calls: Array<string> = []
    const sessions = new Set<ServerHttp2Session>()
    const routes = (router: ConnectRouter) =>
      void router.service(Orders, {
        get: () => ({ value: id }),
        pay: () => ({ value: id }),
        async *watch({ value }) {
          for (let index = 0; index < Number(value); index++) yield await Promise.resolve({ value: id })
        },
        async *chat(requests) {
          for await (const { value } of requests) yield { value: `${id} ${value}` }
        },
        ...behaviour
      })
    const handler = connectNodeAdapter({ routes })
    const server = createServer((request, response) => {
      calls.push(request.url.slice(request.url.lastIndexOf("/") + 1))
      handler(request, response)
    })
    server.on("session", (session) => {
      sessions.add(session)
      session.on("close", () => sessions.delete(session))
      session.on("error", () => {})
    })
    const kill = Effect.sync(() => {
      server.close()
      sessions.forEach((session) => session.destroy())
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.sync(() => {
          server.close()
          sessions.forEach((session) => session.close())
        })
    )
    return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls, kill }
  })
