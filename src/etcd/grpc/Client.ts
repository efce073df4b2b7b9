/**
 * One client of a cluster: its endpoints and the one that is in use, the auth token, calls, and the streams that live on
 * connections.
 *
 * Each endpoint has at most one connection. Operations use the current endpoint; what fails there, or does not answer,
 * moves the client on to the next. Connecting is serialised: whoever needs a connection meanwhile waits for the same
 * attempt.
 *
 * @module
 */
import { Clock, Deferred, Effect, Exit, FiberSet, Redacted, type Scope, Semaphore } from "effect"
import { type EtcdError, InvalidArgument, Unavailable } from "../EtcdError.ts"
import { dial } from "./dial.ts"
import {
  clientClosed,
  type Failure,
  failureOf,
  isTransport,
  messageOf,
  namesStaleToken,
  toError,
  tokenRenewed
} from "./failures.ts"
import { Unsendable } from "./messages.ts"
import type { Address, Settings } from "./settings.ts"

export type Service = "Auth" | "KV" | "Lease" | "Maintenance" | "Watch"

/** A method of a service, as the generated stubs name it. */
export interface Rpc {
  readonly service: Service
  readonly method: string
}

/** gRPC metadata, as far as it is used here. */
export interface Metadata {
  readonly clone: () => Metadata
  readonly set: (name: string, value: string) => void
}

/** A bidirectional gRPC stream, as far as it is used here. */
export interface Duplex {
  readonly write: (message: object) => void
  readonly cancel: () => void
  readonly on: (event: "data" | "end" | "error", listener: (argument: unknown) => void) => unknown
}

/** A gRPC channel to one endpoint. All services share it, so that an endpoint has one state. */
export interface Channel {
  readonly isReady: () => boolean
  /** Connects, and calls back once that has worked. */
  readonly whenReady: (listener: () => void) => void
  /** Metadata of its own, without content. */
  readonly metadata: () => Metadata
  readonly unary: (
    rpc: Rpc,
    message: object,
    metadata: Metadata,
    deadline: number,
    callback: (error: unknown, response: unknown) => void
  ) => { readonly cancel: () => void }
  readonly duplex: (rpc: Rpc, metadata: Metadata) => Duplex
  /** Lets go of the connection once its last call has ended. */
  readonly close: () => void
}

/** Makes a channel to an address, not connected yet. */
export type OpenChannel = (address: Address) => Promise<Channel>

interface Endpoint {
  readonly address: Address
  connection?: Connection | undefined
}

/** A channel in use. */
export interface Connection {
  readonly endpoint: Endpoint
  readonly channel: Channel
  /** How to end each stream that lives on it. */
  readonly streams: Set<(failure: Failure) => void>
}

/** A connection with what a call on it must carry. */
export interface Access {
  readonly connection: Connection
  readonly metadata: Metadata
  /** Is part of the metadata, unless there is no authentication. */
  readonly token?: string
}

/** Milliseconds between two attempts at the same thing, so that no caller's loop turns into a flood. */
const pause = 100

/** See the module's description. */
export class Client {
  readonly settings: Settings
  /** Runs an effect for as long as the client lives. */
  readonly run: (effect: Effect.Effect<void>) => void
  readonly #clock: Clock.Clock
  readonly #open: OpenChannel
  readonly #endpoints: ReadonlyArray<Endpoint>
  readonly #calls = new Set<{ readonly cancel: () => void }>()
  readonly #authenticating = Semaphore.makeUnsafe(1)
  #current = 0
  #connecting: Deferred.Deferred<Connection, Failure> | undefined
  #connectedAt = -Infinity
  #token: string | undefined
  #closed = false

  static readonly make: (settings: Settings, open: OpenChannel) => Effect.Effect<Client, never, Scope.Scope> = Effect
    .fnUntraced(function* (settings: Settings, open: OpenChannel) {
      const run = yield* FiberSet.makeRuntime<never, void, never>()
      const client = new Client(settings, open, yield* Clock.Clock, run)
      yield* Effect.addFinalizer(() => Effect.sync(() => client.#close()))
      return client
    })

  private constructor(
    settings: Settings,
    open: OpenChannel,
    clock: Clock.Clock,
    run: (effect: Effect.Effect<void>) => void
  ) {
    this.settings = settings
    this.#clock = clock
    this.run = run
    this.#open = open
    this.#endpoints = settings.addresses.map((address) => ({ address }))
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Monotonic milliseconds. */
  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Sends one request and waits for its answer. Nothing is repeated, except with a new token where the old was stale. */
  readonly call = <Message, Response>(
    rpc: Rpc,
    encode: () => object,
    decode: (message: Message) => Response,
    key?: () => string
  ): Effect.Effect<Response, EtcdError> =>
    sendable(encode).pipe(
      Effect.flatMap((message) => this.#send(rpc, message)),
      Effect.map((message) => decode(message as Message)),
      Effect.mapError((failure) => toError(failure, rpc.method, key?.())),
      Effect.withSpan(`etcd.${rpc.method}`, { kind: "client" }, { captureStackTrace: false })
    )

  readonly #send = Effect.fnUntraced(
    { self: this },
    function* (this: Client, rpc: Rpc, message: object): Effect.fn.Return<unknown, Failure> {
      const access = yield* this.access
      const first = yield* Effect.result(this.#invoke(access, rpc, message))
      if (first._tag === "Success") return first.success
      if (!this.isStaleToken(first.failure.reason.detail)) return yield* Effect.fail(first.failure)
      this.dropToken(access)
      const again = yield* this.#authorize(access.connection)
      return yield* Effect.mapError(
        this.#invoke(again, rpc, message),
        (failure) => this.isStaleToken(failure.reason.detail) ? tokenRenewed(failure) : failure
      )
    }
  )

  /** Sends a request once, over a given connection. */
  #invoke(access: Access, rpc: Rpc, message: object): Effect.Effect<unknown, Failure> {
    return Effect.callback((resume) => {
      const { connection: { channel }, metadata } = access
      const deadline = Date.now() + this.settings.requestTimeout
      const call = channel.unary(rpc, message, metadata, deadline, (error, response) => {
        this.#calls.delete(call)
        resume(error === null ? Effect.succeed(response) : Effect.fail(this.failed(access, error)))
      })
      this.#calls.add(call)
      return Effect.sync(() => {
        this.#calls.delete(call)
        call.cancel()
      })
    })
  }

  /** What an error on a connection means, for the caller and for the choice of the endpoint. */
  failed(access: Access, error: unknown): Failure {
    if (this.#closed) return clientClosed
    const failure = failureOf(error, access.connection.endpoint.address.url)
    if (isTransport(failure.reason)) this.rotate(access.connection)
    // A server that was restored from a backup may wait for ever for the moment at which the token was issued.
    if (failure.reason._tag === "DeadlineExceeded") this.dropToken(access)
    return failure
  }

  /** Moves on to the next endpoint, if a connection belongs to the current one. */
  rotate({ endpoint }: { readonly endpoint: Endpoint }): void {
    if (this.#endpoints[this.#current] === endpoint) this.#current = (this.#current + 1) % this.#endpoints.length
  }

  /** Whether operations go to this endpoint now. */
  uses(url: string): boolean {
    return this.#endpoints[this.#current]?.address.url === url
  }

  /** Gives up a connection that does not answer: ends all streams on it, and moves on. */
  abandon(access: Access, detail: string): void {
    const { connection } = access
    this.rotate(connection)
    this.dropToken(access)
    const { endpoint } = connection
    if (endpoint.connection === connection) endpoint.connection = undefined
    const failure = { reason: new Unavailable({ detail }), endpoint: endpoint.address.url }
    for (const end of connection.streams) end(failure)
    connection.channel.close()
  }

  /** A connection that is ready, and what to send with every call. */
  readonly access: Effect.Effect<Access, Failure> = Effect.suspend(() => {
    const connection = this.#endpoints[this.#current]?.connection
    return connection?.channel.isReady() === true && !this.#closed ?
      this.#authorize(connection) :
      Effect.flatMap(this.#connect(), (connection) => this.#authorize(connection))
  })

  #connect(): Effect.Effect<Connection, Failure> {
    if (this.#closed) return Effect.fail(clientClosed)
    if (this.#connecting === undefined) {
      const connecting = this.#connecting = Deferred.makeUnsafe<Connection, Failure>()
      this.run(Effect.ignore(Effect.onExit(this.#connectAny, (exit) =>
        Effect.sync(() => {
          this.#connecting = undefined
          Deferred.doneUnsafe(connecting, Exit.hasInterrupts(exit) ? Exit.fail(clientClosed) : exit)
        }))))
    }
    return Deferred.await(this.#connecting)
  }

  /** Tries one endpoint after the other, from the current one on; each gets its share of the time that is left. */
  readonly #connectAny: Effect.Effect<Connection, Failure> = Effect.gen({ self: this }, function* () {
    yield* this.pauseSince(this.#connectedAt)
    this.#connectedAt = this.now()
    const end = this.#connectedAt + this.settings.dialTimeout
    let failure: Failure = clientClosed
    for (let left = this.#endpoints.length; left > 0; left--) {
      const endpoint = this.#endpoints[this.#current]
      if (endpoint === undefined) break
      const attempt = yield* Effect.result(this.#connectTo(endpoint, (end - this.now()) / left))
      if (attempt._tag === "Success") return attempt.success
      failure = attempt.failure
      this.rotate({ endpoint })
    }
    return yield* Effect.fail(failure)
  })

  #connectTo(endpoint: Endpoint, timeout: number): Effect.Effect<Connection, Failure> {
    const { address } = endpoint
    endpoint.connection?.channel.close()
    endpoint.connection = undefined
    let opened: Channel | undefined
    const attempt = Effect.gen({ self: this }, function* () {
      yield* dial(address)
      const channel = yield* Effect.tryPromise({ try: () => this.#open(address), catch: messageOf })
      opened = channel
      yield* Effect.callback<void>((resume) => channel.whenReady(() => resume(Effect.void)))
      return endpoint.connection = { endpoint, channel, streams: new Set() }
    })
    return attempt.pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(`no answer within ${Math.round(timeout)} ms`)
      }),
      Effect.onError(() => Effect.sync(() => opened?.close())),
      Effect.mapError((detail) => ({ reason: new Unavailable({ detail }), endpoint: address.url }))
    )
  }

  /** Waits until a moment is long enough ago to try again. */
  pauseSince(moment: number): Effect.Effect<void> {
    const rest = moment + pause - this.now()
    return rest > 0 ? Effect.sleep(rest) : Effect.void
  }

  /** Whether a text says that our token is not known any more. */
  isStaleToken(detail: string): boolean {
    return this.settings.credentials !== undefined && namesStaleToken(detail)
  }

  /** The next operation gets a new token, unless there already is a newer one. */
  dropToken({ token }: Access): void {
    if (token === this.#token) this.#token = undefined
  }

  #authorize(connection: Connection): Effect.Effect<Access, Failure> {
    const metadata = connection.channel.metadata()
    if (this.settings.credentials === undefined) return Effect.succeed({ connection, metadata })
    const token = this.#token === undefined ? this.#authenticate(connection) : Effect.succeed(this.#token)
    return Effect.map(token, (token) => {
      if (token !== "") metadata.set("token", token)
      return { connection, metadata, token }
    })
  }

  /** A new token, asked for once however many wait for it. Empty where the cluster has no authentication. */
  readonly #authenticate = (connection: Connection): Effect.Effect<string, Failure> => {
    const ask = Effect.suspend(() => {
      const { credentials } = this.settings
      if (this.#token !== undefined || credentials === undefined) return Effect.succeed(this.#token ?? "")
      const request = { name: credentials.username, password: Redacted.value(credentials.password) }
      const access = { connection, metadata: connection.channel.metadata() }
      return this.#invoke(access, { service: "Auth", method: "authenticate" }, request).pipe(
        Effect.map((answer) => (answer as { readonly token: string }).token),
        Effect.catchIf(
          (failure) => failure.reason.detail.includes("authentication is not enabled"),
          () => Effect.succeed("")
        ),
        Effect.tap((token) =>
          Effect.sync(() => {
            this.#token = token
          })
        )
      )
    })
    return Semaphore.withPermit(this.#authenticating, ask)
  }

  /** The streams end with the fibers that serve them. */
  #close(): void {
    this.#closed = true
    for (const call of this.#calls) call.cancel()
    for (const { connection } of this.#endpoints) connection?.channel.close()
  }
}

/** The message of a request, which is checked by being encoded. */
export const sendable = (encode: () => object): Effect.Effect<object, Failure> =>
  Effect.try({
    try: encode,
    catch: (error) => ({
      reason: new InvalidArgument({ detail: error instanceof Unsendable ? error.detail : messageOf(error) })
    })
  })
