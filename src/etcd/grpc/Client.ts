/**
 * One client of a cluster: calls, and the access that streams need.
 *
 * @module
 */
import { Clock, type Context, Effect, FiberSet, type Scope, Stream } from "effect"
import { traced } from "../../internal/traced.ts"
import type { ResponseHeader } from "../messages/ResponseHeader.ts"
import { DeadlineExceeded, type EtcdError, InvalidArgument } from "../EtcdError.ts"
import * as Reachability from "../Reachability.ts"
import { Authentication } from "./Authentication.ts"
import type { Grpc, Headers } from "./Channel.ts"
import { type Connection, Connections } from "./Connections.ts"
import {
  clientClosed,
  type Failure,
  failureOf,
  GrpcStatus,
  isTransport,
  messageOf,
  namesStaleToken,
  toError,
  tokenRenewed,
  Violation
} from "./failures.ts"
import { encodeRange } from "./messages/kv.ts"
import { Unsendable } from "./messages/wire.ts"
import * as methods from "./methods.ts"
import { connections, ofMethod } from "./metrics.ts"
import type { Address, Settings } from "./settings.ts"
import { logWarning } from "../../internal/log.ts"

/** A connection, and the headers of the calls on it. */
export interface Access {
  readonly connection: Connection
  readonly headers: Headers
  /** The auth token in `headers`; missing or empty without authentication. */
  readonly token?: string
}

/** What a call does besides sending a request. */
interface CallOptions<Response> {
  readonly key?: () => string
  readonly requiresLeader?: boolean
  /** Finds what is wrong with a response: `undefined` if it belongs to the request. */
  readonly violation?: (response: Response) => string | undefined
}

/** Converts the status of a call to a failure. */
type OnFailure = (access: Access, status: GrpcStatus) => Failure

/** The identity of a cluster, which some proxies omit from their responses. */
export type ClusterIdentity = Pick<ResponseHeader, "clusterId" | "raftTerm">

/** The request of a probe: a linearizable read of a count. */
const probeRequest = encodeRange({ key: new Uint8Array(1), countOnly: true })

/** See the module's description. */
export class Client {
  readonly settings: Settings
  readonly connections: Connections
  readonly reachability: Reachability.Reachability
  /** Runs an effect for as long as the client lives. */
  readonly run: (effect: Effect.Effect<void>) => void
  readonly #clock: Clock.Clock
  readonly #context: Context.Context<never>
  /** Ends all pending calls. */
  readonly #calls = new Set<() => void>()
  readonly #authentication: Authentication | undefined
  #identity: ClusterIdentity | undefined
  #warnedOfProxy = false

  static readonly make: (settings: Settings, grpc: Grpc) => Effect.Effect<Client, never, Scope.Scope> = Effect
    .fnUntraced(function* (settings: Settings, grpc: Grpc) {
      const run = yield* FiberSet.makeRuntime<never, void, never>()
      const context = yield* Effect.context<never>()
      const client = new Client(settings, grpc, yield* Clock.Clock, context, run)
      const removeGauge = connections.add(context, {}, client.reachability)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          removeGauge()
          client.#close()
        })
      )
      return client
    })

  private constructor(
    settings: Settings,
    grpc: Grpc,
    clock: Clock.Clock,
    context: Context.Context<never>,
    run: (effect: Effect.Effect<void>) => void
  ) {
    this.settings = settings
    this.#clock = clock
    this.#context = context
    this.run = run
    const now = () => this.now()
    this.connections = new Connections({ settings, grpc, now, run })
    this.reachability = Reachability.make({ now, probe: (limitMillis) => this.#probe(limitMillis), run })
    if (settings.credentials !== undefined) {
      const authenticate = (connection: Connection, request: Uint8Array) =>
        this.#invoke({ connection, headers: {} }, methods.authenticate, request)
      this.#authentication = new Authentication({
        credentials: settings.credentials,
        passwordTimeoutMillis: settings.requestTimeoutMillis,
        authenticate,
        now,
        run
      })
    }
  }

  get isClosed(): boolean {
    return this.connections.isClosed
  }

  /** The identity of the cluster in the newest response. */
  get identity(): ClusterIdentity | undefined {
    return this.#identity
  }

  /** Monotonic milliseconds. */
  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * The unary calls of a method. Each sends one request and waits for its response. The only repetition is with a new
   * token if the old one was stale.
   */
  calls<Response extends { readonly header: ResponseHeader }>(name: string, method: methods.Method<Response>) {
    const inSpan = traced(`etcd.${name}`, { kind: "client" })
    const metrics = ofMethod(name, this.#context)
    return (
      encode: () => Uint8Array,
      { key, requiresLeader = true, violation }: CallOptions<Response> = {}
    ): Effect.Effect<Response, EtcdError> =>
      inSpan(Effect.suspend(() => {
        const startedAt = this.now()
        const checked = violation === undefined ? method : checkedMethod(method, violation)
        return Effect.mapBoth(Effect.flatMap(sendable(encode), (request) => this.send(checked, request)), {
          onSuccess: (response) => {
            metrics.succeeded(this.now() - startedAt)
            this.observe(response.header, requiresLeader)
            return response
          },
          onFailure: (failure) => {
            metrics.failed(this.now() - startedAt)
            return toError(failure, name, key?.())
          }
        })
      }))
  }

  /** Sends a request over the connection in use. */
  send<Response>(
    method: methods.Method<Response>,
    request: Uint8Array,
    timeoutMillis: number = this.settings.requestTimeoutMillis
  ): Effect.Effect<Response, Failure> {
    return this.#send(this.#connection, method, request, timeoutMillis, this.#recordFailure)
  }

  /**
   * Sends a request to one member, over a connection of its own. A failure is not recorded in {@link Reachability}:
   * another member may answer.
   */
  sendTo<Response>(
    address: Address,
    method: methods.Method<Response>,
    request: Uint8Array,
    timeoutMillis: number = this.settings.requestTimeoutMillis
  ): Effect.Effect<Response, Failure> {
    return Effect.scoped(Effect.flatMap(
      this.#ownConnection(address),
      (connection) => this.#send(Effect.succeed(connection), method, request, timeoutMillis, this.#failureOn)
    ))
  }

  /** Opens a stream of responses from one member, over a connection of its own. */
  streamFrom<Response>(
    address: Address,
    method: methods.Method<Response>,
    request: Uint8Array
  ): Stream.Stream<Response, Failure> {
    const openOn = (connection: Connection) =>
      Effect.map(this.#authorize(connection), (access) => ({
        access,
        responses: Stream.fromAsyncIterable(
          connection.channel.serverStream(method, request, access.headers),
          (error) => this.#failureOn(access, GrpcStatus.of(error))
        )
      }))
    return Stream.unwrap(Effect.gen({ self: this }, function* () {
      const connection = yield* this.#ownConnection(address)
      const { access, responses } = yield* openOn(connection)
      // etcd checks the token before it sends anything.
      return Stream.catchIf(responses, ({ reason }) => this.isStaleToken(reason.detail), () => {
        this.dropToken(access)
        return Stream.unwrap(Effect.map(openOn(connection), (again) => again.responses))
      })
    }))
  }

  /** A connection for one caller, which ends with the caller's scope or with the client. */
  #ownConnection(address: Address): Effect.Effect<Connection, Failure, Scope.Scope> {
    const open = Effect.map(this.connections.open(address), (connection) => {
      const close = () => connection.channel.abort()
      this.#calls.add(close)
      return { connection, close }
    })
    const owned = Effect.acquireRelease(open, ({ close }) =>
      Effect.sync(() => {
        this.#calls.delete(close)
        close()
      }), { interruptible: true })
    return Effect.map(owned, ({ connection }) => connection)
  }

  /** Connecting, authentication and a second request together take no longer than the two limits. */
  #send<Response>(
    connection: Effect.Effect<Connection, Failure>,
    method: methods.Method<Response>,
    request: Uint8Array,
    timeoutMillis: number,
    onFailure: OnFailure
  ): Effect.Effect<Response, Failure> {
    return Effect.suspend(() => {
      const until = this.now() + this.settings.dialTimeoutMillis + timeoutMillis
      return Effect.flatMap(
        connection,
        (connection) =>
          this.#withToken(connection, until, (access) =>
            Effect.suspend(() =>
              this.#invoke(
                access,
                method,
                request,
                Math.min(timeoutMillis, Math.max(1, until - this.now())),
                onFailure
              )
            ))
      )
    })
  }

  /** Runs a call on a connection, and once more with a new token if the first was stale. */
  #withToken<A>(
    connection: Connection,
    until: number,
    call: (access: Access) => Effect.Effect<A, Failure>
  ): Effect.Effect<A, Failure> {
    const isStale = ({ reason }: Failure) => this.isStaleToken(reason.detail)
    return Effect.flatMap(
      this.#authorizeUntil(connection, until),
      (access) =>
        Effect.catchIf(call(access), isStale, () => {
          this.dropToken(access)
          return Effect.flatMap(
            this.#authorizeUntil(connection, until),
            (again) => Effect.mapError(call(again), (failure) => isStale(failure) ? tokenRenewed(failure) : failure)
          )
        })
    )
  }

  /** Sends a request once, over a given connection. */
  #invoke<Response>(
    access: Access,
    method: methods.Method<Response>,
    request: Uint8Array,
    timeoutMillis: number = this.settings.requestTimeoutMillis,
    onFailure: OnFailure = this.#recordFailure
  ): Effect.Effect<Response, Failure> {
    return Effect.callback((resume) => {
      const { connection: { channel }, headers } = access
      const call = channel.unary(method, request, headers, timeoutMillis, (outcome) => {
        this.#calls.delete(close)
        resume(
          outcome._tag === "Success" ? Effect.succeed(outcome.success) : Effect.fail(onFailure(access, outcome.failure))
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

  /** A linearizable read over a given connection. It succeeds if the server answers and has a leader. */
  read(access: Access, timeoutMillis: number): Effect.Effect<ResponseHeader, Failure> {
    return Effect.map(this.#invoke(access, methods.range, probeRequest, timeoutMillis), ({ header }) => {
      this.observe(header, true)
      return header
    })
  }

  /** Logs once that a proxy in front of etcd hides whether a watch is alive. */
  warnOfProxy(endpoint: string): void {
    if (this.#warnedOfProxy) return
    this.#warnedOfProxy = true
    this.run(logWarning(
      `${endpoint} is a proxy that answers no progress requests: only reconciliation finds a watch that stopped there`
    ))
  }

  /** Records the header of a response. */
  observe({ clusterId, raftTerm }: ResponseHeader, requiresLeader: boolean): void {
    if (clusterId !== 0n) this.#identity = { clusterId, raftTerm }
    if (requiresLeader) this.reachability.answered()
  }

  /** Records the failure of a call or stream. Later calls avoid a connection that failed. */
  failed(access: Access, status: GrpcStatus): Failure {
    if (this.isClosed) return clientClosed
    const failure = failureOf(status, access.connection.endpoint)
    if (!isTransport(failure.reason)) {
      this.reachability.answered()
      return failure
    }
    // With one endpoint that is a load balancer, only a new connection reaches another member.
    this.connections.retire(access.connection)
    // That server answers, so no caller waits for its return.
    if (status instanceof Violation) return failure
    this.reachability.failed()
    // A server that was restored from a backup may wait forever for the revision at which the token was issued.
    if (failure.reason._tag === "DeadlineExceeded") this.dropToken(access)
    return failure
  }

  /** Gives up a connection that does not answer: ends all streams on it. */
  abandon(access: Access, detail: string): void {
    this.dropToken(access)
    this.connections.abandon(access.connection, detail)
    this.reachability.failed()
  }

  /** A ready connection, and the headers of the calls on it. */
  readonly access: Effect.Effect<Access, Failure> = Effect.suspend(() =>
    Effect.flatMap(this.#connection, (connection) => this.#authorize(connection))
  )

  /** The connection in use. */
  readonly #connection: Effect.Effect<Connection, Failure> = Effect.suspend(() =>
    Effect.tapError(this.connections.get, () => Effect.sync(() => this.reachability.failed()))
  )

  readonly #failureOn: OnFailure = ({ connection }, status) =>
    this.isClosed ? clientClosed : failureOf(status, connection.endpoint)

  readonly #recordFailure: OnFailure = (access, status) => this.failed(access, status)

  /** Whether an error text means that the server no longer accepts the token. */
  isStaleToken(detail: string): boolean {
    return this.#authentication !== undefined && namesStaleToken(detail)
  }

  /** Drops a token, so that the next call gets a new one. Does nothing if there is a newer token. */
  dropToken({ token }: Access): void {
    this.#authentication?.drop(token)
  }

  #authorize(connection: Connection): Effect.Effect<Access, Failure> {
    return this.#authentication === undefined ? Effect.succeed({ connection, headers: {} }) : Effect.map(
      this.#authentication.token(connection),
      (token) => ({ connection, headers: token === "" ? {} : { token }, token })
    )
  }

  /** Fails if there is no token by that time, so that a hanging authentication does not hold a call past its limits. */
  #authorizeUntil(connection: Connection, until: number): Effect.Effect<Access, Failure> {
    const authorized = this.#authorize(connection)
    return this.#authentication === undefined || this.#authentication.isKnown ? authorized : Effect.timeoutOrElse(
      authorized,
      {
        duration: Math.max(1, until - this.now()),
        orElse: () =>
          Effect.fail({
            reason: new DeadlineExceeded({ detail: "no auth token in time" }),
            endpoint: connection.endpoint
          })
      }
    )
  }

  /** Probes all endpoints at once and uses the first that answers from then on. A refusal is an answer. */
  #probe(limitMillis: number): Effect.Effect<void> {
    const probes = Effect.map(
      this.connections.each,
      (connecting) =>
        connecting.map((connect) =>
          Effect.flatMap(connect, (connection) =>
            Effect.as(
              Effect.catchIf(
                this.read({ connection, headers: {} }, limitMillis),
                ({ reason }) => !isTransport(reason),
                () => Effect.void
              ),
              connection
            ))
        )
    )
    return Effect.flatMap(probes, Effect.raceAll).pipe(
      Effect.timeoutOrElse({
        duration: Math.min(limitMillis, this.settings.dialTimeoutMillis),
        orElse: () => Effect.fail({ reason: new DeadlineExceeded({ detail: "no answer to a probe" }) })
      }),
      Effect.map((connection) => this.connections.use(connection)),
      Effect.ignore
    )
  }

  /** The streams end with their fibers. */
  #close(): void {
    this.connections.close()
    for (const close of this.#calls) close()
  }
}

/** The method with a decoder that throws a {@link Violation}. */
const checkedMethod = <Response>(
  method: methods.Method<Response>,
  violation: (response: Response) => string | undefined
): methods.Method<Response> => ({
  ...method,
  decode: (bytes) => {
    const response = method.decode(bytes)
    const detail = violation(response)
    if (detail !== undefined) throw new Violation(detail)
    return response
  }
})

/** Encodes a request. Fails with `InvalidArgument` if a value does not fit the protocol. */
export const sendable = (encode: () => Uint8Array): Effect.Effect<Uint8Array, Failure> =>
  Effect.try({
    try: encode,
    catch: (error) => ({
      reason: new InvalidArgument({ detail: error instanceof Unsendable ? error.detail : messageOf(error) })
    })
  })
