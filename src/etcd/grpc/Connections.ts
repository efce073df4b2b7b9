/**
 * The connections of a client: at most one to each endpoint, and the endpoint in use.
 *
 * **Details**
 *
 * If the endpoint in use does not answer soon, all others are tried in parallel. The first that answers is used from
 * then on. All callers that need a connection meanwhile share the attempt and its failure.
 *
 * @module
 */
import { Deferred, Effect } from "effect"
import { Unavailable } from "../EtcdError.ts"
import { type Channel, connect, type Grpc } from "./Channel.ts"
import { type DialFailure, schemeAdvice } from "./dial.ts"
import { clientClosed, type Failure } from "./failures.ts"
import type { Address, Settings } from "./settings.ts"
import { SharedAttempt } from "./SharedAttempt.ts"

interface Endpoint {
  readonly address: Address
  connection: Connection | undefined
  /** Advice about a wrong scheme; `undefined` until it was checked. */
  advice: string | undefined
}

/** A connection in use. */
export interface Connection {
  readonly endpoint: string
  readonly channel: Channel
  /** Ends the streams on it. */
  readonly streams: Set<(failure: Failure) => void>
}

/** Milliseconds from the start of one attempt to the next. */
const minAttemptGapMillis = 100

/** Milliseconds before the other endpoints are tried as well. */
const headStartMillis = 250

const unconnected = (address: Address): Endpoint => ({ address, connection: undefined, advice: undefined })

/** What {@link Connections} is made from. */
export interface ConnectionsConfig {
  readonly settings: Settings
  readonly grpc: Grpc
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Runs an effect for as long as the client lives. */
  readonly run: (effect: Effect.Effect<void>) => void
}

/** See the module's description. */
export class Connections {
  readonly #config: ConnectionsConfig
  #endpoints: ReadonlyArray<Endpoint>
  #current = 0
  readonly #connecting: SharedAttempt<Connection>
  #startedAt = -Infinity
  #isClosed = false

  constructor(config: ConnectionsConfig) {
    this.#config = config
    this.#connecting = new SharedAttempt(config.run)
    this.#endpoints = config.settings.addresses.map(unconnected)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The connection in use. Connects if there is none. */
  readonly get: Effect.Effect<Connection, Failure> = Effect.suspend(() => {
    const connection = this.#endpoints[this.#current]?.connection
    return !this.#isClosed && connection?.channel.isReady === true ? Effect.succeed(connection) : this.#connect()
  })

  /** For probing: the connection to each endpoint. Connects to those without one. */
  readonly each: Effect.Effect<ReadonlyArray<Effect.Effect<Connection, Failure>>> = Effect.sync(() =>
    this.#endpoints.map((endpoint) =>
      Effect.suspend(() =>
        endpoint.connection?.channel.isReady === true ?
          Effect.succeed(endpoint.connection) :
          this.#connectTo(endpoint, this.#config.settings.dialTimeoutMillis)
      )
    )
  )

  /** The URLs of the endpoints. */
  get urls(): ReadonlyArray<string> {
    return this.#endpoints.map(({ address }) => address.url)
  }

  /** Replaces the endpoints. Those that remain keep their connections; the streams of all others end. */
  replace(addresses: ReadonlyArray<Address>): void {
    const before = this.#endpoints
    const inUse = before[this.#current]
    this.#endpoints = addresses.map((address) =>
      before.find((endpoint) => endpoint.address.url === address.url) ?? unconnected(address)
    )
    this.#current = Math.max(0, this.#endpoints.findIndex((endpoint) => endpoint === inUse))
    for (const endpoint of before) {
      if (endpoint.connection === undefined || this.#endpoints.includes(endpoint)) continue
      this.abandon(endpoint.connection, "the member has left the cluster")
    }
  }

  /** Whether calls go to this endpoint now. */
  uses(url: string): boolean {
    return this.#endpoints[this.#current]?.address.url === url
  }

  /** Sends later calls to this connection. */
  use(connection: Connection): void {
    const index = this.#endpoints.findIndex((endpoint) => endpoint.connection === connection)
    if (index >= 0) this.#current = index
  }

  /** Sends later calls elsewhere: to another endpoint, or over a new connection to the only one. */
  retire(connection: Connection): void {
    this.#detach(connection)
    connection.channel.retire()
  }

  /** Like {@link retire}, and also ends all streams on the connection. */
  abandon(connection: Connection, detail: string): void {
    this.#detach(connection)
    const failure = { reason: new Unavailable({ detail }), endpoint: connection.endpoint }
    for (const end of connection.streams) end(failure)
    connection.channel.abort()
  }

  close(): void {
    this.#isClosed = true
    for (const { connection } of this.#endpoints) connection?.channel.close()
  }

  #detach(connection: Connection): void {
    const index = this.#endpoints.findIndex(({ address }) => address.url === connection.endpoint)
    const endpoint = this.#endpoints[index]
    if (endpoint?.connection !== connection) return
    endpoint.connection = undefined
    if (index === this.#current) this.#current = (index + 1) % this.#endpoints.length
  }

  #connect(): Effect.Effect<Connection, Failure> {
    if (this.#isClosed) return Effect.fail(clientClosed)
    return this.#connecting.join(this.#connectAny)
  }

  readonly #connectAny: Effect.Effect<Connection, Failure> = Effect.gen({ self: this }, function* () {
    const { now, settings } = this.#config
    const gap = this.#startedAt + minAttemptGapMillis - now()
    if (gap > 0) yield* Effect.sleep(gap)
    this.#startedAt = now()
    const firstFailed = yield* Deferred.make<void>()
    const failures: Array<Failure> = []
    const { dialTimeoutMillis } = settings
    const order = this.#endpoints.map((_, index) => (this.#current + index) % this.#endpoints.length)
    const endpoints = this.#endpoints
    const attempts = order.map((index, position) => {
      const endpoint = endpoints[index] as Endpoint
      const headStart = position === 0 ? 0 : Math.min(headStartMillis, dialTimeoutMillis / 2)
      const start = position === 0 ?
        Effect.void :
        Effect.raceFirst(Effect.sleep(headStart), Deferred.await(firstFailed))
      return Effect.andThen(start, this.#connectTo(endpoint, dialTimeoutMillis - headStart)).pipe(
        Effect.tapError((failure) =>
          Effect.suspend(() => {
            failures[position] = failure
            return position === 0 ? Deferred.succeed(firstFailed, undefined) : Effect.void
          })
        )
      )
    })
    const connection = yield* Effect.catch(
      Effect.raceAll(attempts),
      (failure) => Effect.fail(failures.find((one) => one !== undefined) ?? failure)
    )
    this.use(connection)
    return connection
  })

  #connectTo(endpoint: Endpoint, timeoutMillis: number): Effect.Effect<Connection, Failure> {
    return Effect.suspend(() => {
      const before = endpoint.connection
      return Effect.map(this.#dial(endpoint, timeoutMillis), (connection) => {
        const { connection: current } = endpoint
        // A probe and a call may connect at the same time. A call may be about to begin on the first connection.
        if (current !== before && current?.channel.isReady === true) {
          connection.channel.abort()
          return current
        }
        if (this.#isClosed || !this.#endpoints.includes(endpoint)) connection.channel.abort()
        current?.channel.retire()
        return endpoint.connection = connection
      })
    })
  }

  /** A connection for one caller, to any member of the cluster. The caller closes it. */
  open(address: Address): Effect.Effect<Connection, Failure> {
    const endpoint = unconnected(address)
    return Effect.suspend(() =>
      this.#isClosed ? Effect.fail(clientClosed) : this.#dial(endpoint, this.#config.settings.dialTimeoutMillis)
    )
  }

  #dial(endpoint: Endpoint, timeoutMillis: number): Effect.Effect<Connection, Failure> {
    const { address } = endpoint
    const { grpc, settings } = this.#config
    const { tls: identity } = address
    const security = settings.tls === undefined || identity === undefined ?
      Effect.succeed(undefined) :
      Effect.map(settings.tls.context, (context) => ({ ...identity, context }))
    const attempt = Effect.flatMap(security, (security) => connect({ grpc, address, security, settings }))
    return attempt.pipe(
      Effect.timeoutOrElse({
        duration: timeoutMillis,
        orElse: () => Effect.fail({ detail: `no answer within ${Math.round(timeoutMillis)} ms`, isConnected: false })
      }),
      Effect.tapError((failure) => this.#adviseOn(endpoint, failure)),
      Effect.mapError(({ detail }): Failure => ({
        reason: new Unavailable({ detail: endpoint.advice ? `${detail}; ${endpoint.advice}` : detail }),
        endpoint: address.url
      })),
      Effect.map((channel) => ({ endpoint: address.url, channel, streams: new Set() }))
    )
  }

  /** Checks once whether the scheme of an endpoint is wrong. */
  #adviseOn(endpoint: Endpoint, failure: DialFailure): Effect.Effect<void> {
    if (endpoint.advice !== undefined) return Effect.void
    return Effect.map(schemeAdvice(endpoint.address, failure), (advice) => {
      if (failure.isConnected) endpoint.advice = advice ?? ""
    })
  }
}
