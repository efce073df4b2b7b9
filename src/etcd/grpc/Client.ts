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
import { traced } from "../../internal/traced.ts"
import { type EtcdError, InvalidArgument, Unavailable } from "../EtcdError.ts"
import { type Channel, connect, type Grpc, type Headers } from "./Channel.ts"
import {
  clientClosed,
  type Failure,
  failureOf,
  type GrpcStatus,
  isTransport,
  messageOf,
  namesStaleToken,
  toError,
  tokenRenewed
} from "./failures.ts"
import { encode, Unsendable } from "./messages.ts"
import * as methods from "./methods.ts"
import type { Address, Settings } from "./settings.ts"

interface Endpoint {
  readonly address: Address
  connection?: Connection | undefined
}

/** A connection in use. */
export interface Connection {
  readonly endpoint: Endpoint
  readonly channel: Channel
  /** How to end each stream that lives on it. */
  readonly streams: Set<(failure: Failure) => void>
}

/** A connection with what a call on it must carry. */
export interface Access {
  readonly connection: Connection
  readonly headers: Headers
  /** Is part of the headers, unless there is no authentication. */
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
  readonly #grpc: Grpc
  readonly #endpoints: ReadonlyArray<Endpoint>
  /** How to end each call that is waited for. */
  readonly #calls = new Set<() => void>()
  readonly #authenticating = Semaphore.makeUnsafe(1)
  #current = 0
  #connecting: Deferred.Deferred<Connection, Failure> | undefined
  #connectedAt = -Infinity
  #token: string | undefined
  #closed = false

  static readonly make: (settings: Settings, grpc: Grpc) => Effect.Effect<Client, never, Scope.Scope> = Effect
    .fnUntraced(function* (settings: Settings, grpc: Grpc) {
      const run = yield* FiberSet.makeRuntime<never, void, never>()
      const client = new Client(settings, grpc, yield* Clock.Clock, run)
      yield* Effect.addFinalizer(() => Effect.sync(() => client.#close()))
      return client
    })

  private constructor(
    settings: Settings,
    grpc: Grpc,
    clock: Clock.Clock,
    run: (effect: Effect.Effect<void>) => void
  ) {
    this.settings = settings
    this.#grpc = grpc
    this.#clock = clock
    this.run = run
    this.#endpoints = settings.addresses.map((address) => ({ address }))
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Monotonic milliseconds. */
  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * What sends requests of a method: one each, and waits for its answer. Nothing is repeated, except with a new token
   * where the old was stale.
   */
  calls<Response>(name: string, method: methods.Method<Response>) {
    const send = (message: Uint8Array) => this.#send(method, message)
    const inSpan = traced(`etcd.${name}`, { kind: "client" })
    return (encode: () => Uint8Array, key?: () => string): Effect.Effect<Response, EtcdError> =>
      inSpan(Effect.mapError(
        Effect.flatMap(sendable(encode), send),
        (failure) => toError(failure, name, key?.())
      ))
  }

  #send<Answer>(method: methods.Method<Answer>, message: Uint8Array): Effect.Effect<Answer, Failure> {
    const isStale = ({ reason }: Failure) => this.isStaleToken(reason.detail)
    return Effect.flatMap(
      this.access,
      (access) =>
        Effect.catchIf(this.#invoke(access, method, message), isStale, () => {
          this.dropToken(access)
          return Effect.flatMap(this.#authorize(access.connection), (again) =>
            Effect.mapError(
              this.#invoke(again, method, message),
              (failure) => isStale(failure) ? tokenRenewed(failure) : failure
            ))
        })
    )
  }

  /** Sends a request once, over a given connection. */
  #invoke<Answer>(access: Access, method: methods.Method<Answer>, message: Uint8Array): Effect.Effect<Answer, Failure> {
    return Effect.callback((resume) => {
      const { connection: { channel }, headers } = access
      const { requestTimeout } = this.settings
      const call = channel.unary(method, message, headers, requestTimeout, (outcome) => {
        this.#calls.delete(close)
        resume(
          outcome._tag === "Success" ?
            Effect.succeed(outcome.success) :
            Effect.fail(this.failed(access, outcome.failure))
        )
      })
      const close = () => {
        call.cancel()
        resume(Effect.fail(clientClosed))
      }
      this.#calls.add(close)
      return Effect.sync(() => {
        this.#calls.delete(close)
        call.cancel()
      })
    })
  }

  /** What a failure on a connection means, for the caller and for the choice of the endpoint. */
  failed(access: Access, status: GrpcStatus): Failure {
    if (this.#closed) return clientClosed
    const failure = failureOf(status, access.connection.endpoint.address.url)
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
    return connection?.channel.isReady === true && !this.#closed ?
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
    const attempt = Effect.map(
      connect(this.#grpc, address, this.settings),
      (channel): Connection => {
        if (this.#closed) channel.close()
        return endpoint.connection = { endpoint, channel, streams: new Set() }
      }
    )
    return attempt.pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(`no answer within ${Math.round(timeout)} ms`)
      }),
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
    if (this.settings.credentials === undefined) return Effect.succeed({ connection, headers: {} })
    const token = this.#token === undefined ? this.#authenticate(connection) : Effect.succeed(this.#token)
    return Effect.map(token, (token) => ({ connection, headers: token === "" ? {} : { token }, token }))
  }

  /** A new token, asked for once however many wait for it. Empty where the cluster has no authentication. */
  readonly #authenticate = (connection: Connection): Effect.Effect<string, Failure> => {
    const ask = Effect.suspend(() => {
      const { credentials } = this.settings
      if (this.#token !== undefined || credentials === undefined) return Effect.succeed(this.#token ?? "")
      const request = { name: credentials.username, password: Redacted.value(credentials.password) }
      return this.#invoke({ connection, headers: {} }, methods.authenticate, encode.authenticate(request)).pipe(
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
    for (const close of this.#calls) close()
    for (const { connection } of this.#endpoints) connection?.channel.close()
  }
}

/** The message of a request, which is checked by being encoded. */
export const sendable = (encode: () => Uint8Array): Effect.Effect<Uint8Array, Failure> =>
  Effect.try({
    try: encode,
    catch: (error) => ({
      reason: new InvalidArgument({ detail: error instanceof Unsendable ? error.detail : messageOf(error) })
    })
  })
