/**
 * Web handlers on `node:http`, which Node, Bun and Deno provide.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

/**
 * A listener of `node:http`.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => void

type WebHandler = (request: Request) => Promise<Response>

/** Returns the URL of a request, or `undefined` if it is invalid. */
const urlOf = ({ url = "/" }: IncomingMessage): string | undefined => {
  const absolute = `http://localhost${url}`
  return url.startsWith("/") && URL.canParse(absolute) ? absolute : undefined
}

const headersOf = ({ rawHeaders }: IncomingMessage): Headers => {
  const headers = new Headers()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "")
  }
  return headers
}

/** A body that reads nothing until it is read: Node discards the body of a request only if nobody has begun to read it. */
const bodyOf = (incoming: IncomingMessage): RequestInit => {
  if (incoming.method === "GET" || incoming.method === "HEAD") return {}
  const chunks: AsyncIterator<Uint8Array> = incoming[Symbol.asyncIterator]()
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await chunks.next()
      if (done === true) controller.close()
      else controller.enqueue(value)
    },
    cancel: async () => void await chunks.return?.()
  }, { highWaterMark: 0 })
  return { body, duplex: "half" } as RequestInit
}

/** The methods that no `Request` can have. */
const unsupported = ["CONNECT", "TRACE", "TRACK"]

const respond = async (handler: WebHandler, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
  const url = urlOf(incoming)
  if (url === undefined) {
    outgoing.writeHead(400).end()
    return
  }
  const { method = "GET" } = incoming
  if (unsupported.includes(method)) {
    outgoing.writeHead(501).end()
    return
  }
  const aborted = new AbortController()
  outgoing.once("close", () => aborted.abort())
  const response = await handler(
    new Request(url, { method, headers: headersOf(incoming), signal: aborted.signal, ...bodyOf(incoming) })
  )
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (response.body === null || method === "HEAD") outgoing.end()
  else await pipeline(Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]), outgoing)
}

/**
 * Converts a web handler to a listener of `node:http`.
 *
 * **Details**
 *
 * Responses apply backpressure: a reader that stalls costs no memory.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Monitoring } from "@effect-etcd/discovery/monitoring"
 * import { Effect } from "effect"
 * import { createServer } from "node:http"
 *
 * const program = Effect.gen(function* () {
 *   const handler = yield* Monitoring.webHandler()
 *   return createServer(Monitoring.nodeListener(handler)) // then .listen(9090)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const nodeListener =
  (handler: (request: Request) => Promise<Response>): NodeListener => (incoming, outgoing) => {
    respond(handler, incoming, outgoing).catch(() => {
      if (outgoing.headersSent) outgoing.destroy()
      else outgoing.writeHead(500).end()
    })
  }

/**
 * Where to serve.
 *
 * @since 0.1.0
 * @category options
 */
export interface ServeOptions {
  /** The port; 0 selects a free one. */
  readonly port: number
  /** The address to bind. `0.0.0.0` accepts connections from other hosts. Default: `127.0.0.1`. */
  readonly hostname?: string
}

const ServeFailedBase: TaggedErrorClass<"ServeFailed", {
  readonly hostname: string
  readonly port: number
  readonly cause: Error
}> = TaggedErrorClass("ServeFailed")

/**
 * The server cannot listen.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServeFailed extends ServeFailedBase {
  override get message(): string {
    return `cannot serve on ${this.hostname}:${this.port}: ${this.cause.message}. Choose another port or address.`
  }
}

/**
 * Serves a web handler on `node:http` until the scope closes, and returns the address.
 *
 * **Details**
 *
 * Closing the scope ends open connections. Fails with `InvalidOption`, or with `ServeFailed` if the server cannot
 * listen.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Monitoring } from "@effect-etcd/discovery/monitoring"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const { port } = yield* Monitoring.serve(yield* Monitoring.webHandler(), { port: 0 })
 *   const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/livez`))
 *   assert.equal(response.status, 200)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const serve: (
  handler: (request: Request) => Promise<Response>,
  options: ServeOptions
) => Effect.Effect<{ readonly hostname: string; readonly port: number }, InvalidOption | ServeFailed, Scope.Scope> = (
  handler,
  options
) => serveAs("Monitoring.serve", handler, options)

/** Serves as {@link serve} does. `of` names the function that was called in an `InvalidOption`. */
export const serveAs = Effect.fnUntraced(function* (
  of: string,
  handler: WebHandler,
  { hostname = "127.0.0.1", port }: ServeOptions
) {
  yield* Effect.fromResult(
    checkOptions(of, (check) => check.number("port", port, { min: 0, max: 65_535, whole: true }))
  )
  const server = yield* Effect.acquireRelease(
    listen(createServer(nodeListener(handler)), hostname, port),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  // A server that listens on a port has an address.
  const { address, port: bound } = server.address() as AddressInfo
  return { hostname: address, port: bound }
})

const listen = (server: Server, hostname: string, port: number): Effect.Effect<Server, ServeFailed> =>
  Effect.callback((resume) => {
    const onError = (cause: Error) => resume(Effect.fail(new ServeFailed({ hostname, port, cause })))
    server.once("error", onError)
    server.listen({ host: hostname, port }, () => {
      server.off("error", onError)
      // Later errors concern single connections only.
      server.on("error", () => {})
      resume(Effect.succeed(server))
    })
  })
