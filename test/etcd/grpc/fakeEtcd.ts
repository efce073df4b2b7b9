/**
 * A server with etcd's protocol whose answers a test chooses, including answers that etcd never sends. It encodes
 * messages with `etcd3`, independently of our own encoding.
 *
 * @module
 */
import { Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js"
import { Effect, type Scope } from "effect"
import { Etcd3 } from "etcd3"
import { attempt } from "../../harness/real.ts"

type Service = "Auth" | "KV" | "Lease" | "Watch"

/** Gives access to the generated stubs. */
class Stubs extends Etcd3 {
  async service(name: Service) {
    const { constructor } = await this.pool.withConnection(name, ({ client }) => client)
    return (constructor as unknown as { readonly service: Parameters<Server["addService"]>[0] }).service
  }
}

export interface Header {
  readonly cluster_id: string
  readonly member_id: string
  readonly revision: string
  readonly raft_term: string
}

export const header = (revision: number, clusterId = 7): Header => ({
  cluster_id: String(clusterId),
  member_id: "1",
  revision: String(revision),
  raft_term: "2"
})

/** A request of a watch stream. */
export interface WatchAsk {
  readonly create_request?: null | { readonly watch_id: string; readonly key: Uint8Array }
  readonly cancel_request?: { readonly watch_id: string }
  readonly progress_request?: object | null
}

export interface FakeEtcd {
  readonly endpoint: string
  /** Watch streams that clients have opened so far. */
  readonly streams: () => number
  /** Reads that clients have sent so far. */
  readonly reads: () => number
}

/** A `put` event in the form of `etcd3`. */
export const event = (key: string, modRevision: number, value: string | Uint8Array = "1") => ({
  type: "Put",
  kv: { key: Buffer.from(key), value: Buffer.from(value), mod_revision: String(modRevision), create_revision: "1" }
})

/** The responses to unary calls, by the name of the method in `etcd3`. Others fail with `UNIMPLEMENTED`. */
export type Answers = {
  readonly [method in "authenticate" | "put" | "deleteRange" | "txn" | "leaseGrant" | "leaseTimeToLive"]?: object
}

/**
 * Starts the server. `onWatch` runs for each request of a watch stream, `onHeartbeat` for each of a heartbeat stream.
 * Both may send any number of responses. `range` is the response to each read.
 */
export const startFake = (
  onWatch: (ask: WatchAsk, send: (response: object) => void) => void,
  {
    answers = {},
    maxStreams = 100,
    onHeartbeat = () => {},
    range = { header: header(10), kvs: [], more: false, count: "0" }
  }: {
    readonly answers?: Answers
    readonly onHeartbeat?: (ask: { readonly ID: string }, send: (response: object) => void) => void
    readonly maxStreams?: number
    readonly range?: object
  } = {}
): Effect.Effect<FakeEtcd, Error, Scope.Scope> =>
  Effect.gen(function* () {
    let streams = 0
    let reads = 0
    const stubs = new Stubs({ hosts: "127.0.0.1:1" })
    const server = new Server({ "grpc.max_concurrent_streams": maxStreams })
    type Callback = (error: null, response: object) => void
    const unary: UntypedServiceImplementation = Object.fromEntries(
      Object.entries(answers).map(([method, response]) =>
        [method, (_call: unknown, callback: Callback) => callback(null, response)] as const
      )
    )
    const kv: UntypedServiceImplementation = {
      ...unary,
      range: (_call: unknown, callback: Callback) => {
        reads += 1
        callback(null, range)
      }
    }
    interface Duplex<Ask> {
      readonly on: (name: string, listener: (ask: Ask) => void) => void
      readonly write: (response: object) => void
      readonly end: () => void
    }
    const serve = <Ask>(onAsk: (ask: Ask, send: (response: object) => void) => void) => (call: Duplex<Ask>) => {
      call.on("data", (ask) => onAsk(ask, (response) => call.write(response)))
      call.on("end", () => call.end())
      call.on("error", () => {})
    }
    const watch: UntypedServiceImplementation = {
      watch: (call: Duplex<WatchAsk>) => {
        streams += 1
        serve(onWatch)(call)
      }
    }
    server.addService(yield* attempt(() => stubs.service("KV")), kv)
    server.addService(yield* attempt(() => stubs.service("Watch")), watch)
    server.addService(yield* attempt(() => stubs.service("Lease")), { ...unary, leaseKeepAlive: serve(onHeartbeat) })
    server.addService(yield* attempt(() => stubs.service("Auth")), unary)
    stubs.close()
    const port = yield* Effect.acquireRelease(
      Effect.callback<number, Error>((resume) => {
        server.bindAsync(
          "127.0.0.1:0",
          ServerCredentials.createInsecure(),
          (error, port) => resume(error === null ? Effect.succeed(port) : Effect.fail(error))
        )
      }),
      () => Effect.sync(() => server.forceShutdown())
    )
    return { endpoint: `http://127.0.0.1:${port}`, streams: () => streams, reads: () => reads }
  })
