/**
 * The cluster, auth and maintenance clients of `etcd3`, over the connections of the {@link Etcd} in the context.
 *
 * **Details**
 *
 * `etcd3` supplies the requests, their types and their encoding. Its own connections, retries and circuit breakers are
 * not used: a call has the endpoints, certificates, user and errors of the client's other calls. The package is loaded
 * on first use, which reads its `.proto` file.
 *
 * @module
 */
import { type Context, type Duration, Effect } from "effect"
import type { Etcd3, ICallable } from "etcd3"
import { Buffer } from "node:buffer"
import type { ClusterCalls, Rpc } from "../etcd/Administration.ts"
import { EtcdError, Unknown } from "../etcd/EtcdError.ts"

/** The clients of `etcd3` in use. */
export type Clients = Pick<Etcd3, "auth" | "cluster" | "maintenance">

type Service = "Auth" | "Cluster" | "Maintenance"

/** An RPC as `etcd3` defines it. */
interface Definition {
  readonly path: string
  readonly requestSerialize: (request: unknown) => Uint8Array
  readonly responseDeserialize: (bytes: Buffer) => unknown
}

interface Loaded {
  readonly module: typeof import("etcd3")
  readonly definitions: ReadonlyMap<string, Definition>
}

const load = async (): Promise<Loaded> => {
  const module = await import("etcd3")
  // Reads the stubs only. They would connect on a call.
  class Stubs extends module.Etcd3 {
    definitions(service: Service): Promise<Record<string, Definition>> {
      return this.pool.withConnection(
        service,
        ({ client }) => (client.constructor as unknown as { readonly service: Record<string, Definition> }).service
      )
    }
  }
  // Keep grpc-js from reading the variables of HTTP proxies, which needs a permission under Deno.
  const stubs = new Stubs({ hosts: "127.0.0.1:1", grpcOptions: { "grpc.enable_http_proxy": 0 } })
  const services = await Promise.all((["Auth", "Cluster", "Maintenance"] as const).map((one) => stubs.definitions(one)))
  stubs.close()
  return { module, definitions: new Map(services.flatMap(Object.entries).map(([name, one]) => [keyOf(name), one])) }
}

/** Normalizes names: `etcd3` uses `HashKV`, `hashKV` and `hashKv`. */
const keyOf = (method: string): string => method.toLowerCase()

let loading: Promise<Loaded> | undefined

const loaded = (method: string): Effect.Effect<Loaded, EtcdError> =>
  Effect.tryPromise({
    try: () => loading ??= load(),
    catch: (cause) => {
      loading = undefined
      const text = cause instanceof Error ? cause.message : String(cause)
      return new EtcdError({ reason: new Unknown({ detail: `cannot load the package etcd3: ${text}` }), method, cause })
    }
  })

/** A call whose messages are bytes. `Response` is the type of this method's response in `etcd3`. */
const rpcOf = <Response>({ definitions }: Loaded, method: string, request: unknown): Rpc<Response> => {
  const definition = definitions.get(keyOf(method))
  if (definition === undefined) throw new Error(`etcd3 has no ${method}`)
  return {
    name: method,
    path: definition.path,
    request: definition.requestSerialize(request),
    decode: ({ buffer, byteLength, byteOffset }) =>
      definition.responseDeserialize(Buffer.from(buffer, byteOffset, byteLength)) as Response
  }
}

/** Calls a method of a client of `etcd3`. An infinite `timeout` lasts until the caller interrupts. */
export const call = <Response>(
  calls: ClusterCalls,
  method: string,
  use: (clients: Clients) => Promise<Response>,
  timeout?: Duration.Duration
): Effect.Effect<Response, EtcdError> =>
  Effect.gen(function* () {
    const library = yield* loaded(method)
    const context = yield* Effect.context<never>()
    const outcome = Effect.tryPromise({
      try: (signal) => use(clientsOver(library, callable(library, calls, context, signal, timeout))),
      catch: (error) => error
    })
    return yield* Effect.catch(outcome, (error) => error instanceof EtcdError ? Effect.fail(error) : Effect.die(error))
  })

/** A call with a stream of responses. */
export const streamRpc = <Response>(method: string): Effect.Effect<Rpc<Response>, EtcdError> =>
  Effect.map(loaded(method), (library) => rpcOf<Response>(library, method, {}))

const clientsOver = ({ module }: Loaded, over: ICallable<never>): Clients => ({
  auth: new module.AuthClient(over),
  cluster: new module.ClusterClient(over),
  maintenance: new module.MaintenanceClient(over)
})

/** The transport of `etcd3`'s clients. */
const callable = (
  library: Loaded,
  calls: ClusterCalls,
  context: Context.Context<never>,
  signal: AbortSignal,
  timeout: Duration.Duration | undefined
): ICallable<never> => ({
  exec: <Response>(_service: string, method: string, request: unknown) => {
    const rpc = rpcOf<Response>(library, method, request)
    const response = calls.unary(timeout === undefined ? rpc : { ...rpc, timeout })
    return Effect.runPromiseWith(context)(response, { signal })
  },
  // For the streams of `etcd3` only, which ignore the client's user.
  withConnection: () => Promise.reject(new Error("streams are opened by streamRpc")),
  markFailed: () => {},
  callOptionsFactory: undefined
})
