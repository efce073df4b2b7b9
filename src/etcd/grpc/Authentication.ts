/**
 * The auth token of a client: fetched when a call needs it, once however many calls wait for it.
 *
 * @module
 */
import { Effect, Redacted, Semaphore } from "effect"
import { Unavailable } from "../EtcdError.ts"
import type { Connection } from "./Connections.ts"
import { type Failure, messageOf } from "./failures.ts"
import { encode } from "./messages.ts"
import type { Credentials } from "./settings.ts"

/** Sends an authentication request over a connection and returns the token. */
export type Authenticate = (connection: Connection, request: Uint8Array) => Effect.Effect<string, Failure>

/** Milliseconds between two warnings about a refused password: the first gap, and the longest. */
const firstWarningGapMillis = 60_000
const maxWarningGapMillis = 3_600_000

/** See the module's description. */
export class Authentication {
  readonly #credentials: Credentials
  readonly #authenticate: Authenticate
  readonly #now: () => number
  readonly #turn = Semaphore.makeUnsafe(1)
  #token: string | undefined
  #warnsAt = -Infinity
  #warningGap = firstWarningGapMillis

  constructor(credentials: Credentials, authenticate: Authenticate, now: () => number) {
    this.#credentials = credentials
    this.#authenticate = authenticate
    this.#now = now
  }

  /** The token; empty if the cluster has no authentication. */
  token(connection: Connection): Effect.Effect<string, Failure> {
    return Effect.suspend(() =>
      this.#token === undefined ?
        Semaphore.withPermit(this.#turn, Effect.suspend(() => this.#fetch(connection))) :
        Effect.succeed(this.#token)
    )
  }

  /** The next call gets a new token, unless there is a newer one. */
  drop(token: string | undefined): void {
    if (token === this.#token) this.#token = undefined
  }

  #fetch(connection: Connection): Effect.Effect<string, Failure> {
    if (this.#token !== undefined) return Effect.succeed(this.#token)
    const { password, username } = this.#credentials
    return Effect.mapError(password, (cause): Failure => ({
      reason: new Unavailable({
        detail: `cannot read the password of ${JSON.stringify(username)}: ${messageOf(cause)}`
      }),
      cause
    })).pipe(
      Effect.flatMap((password) =>
        this.#authenticate(connection, encode.authenticate({ name: username, password: Redacted.value(password) }))
      ),
      Effect.catchIf(
        (failure) => failure.reason.detail.includes("authentication is not enabled"),
        () => Effect.succeed("")
      ),
      Effect.tapError((failure) => failure.reason._tag === "Unauthenticated" ? this.#warn(failure) : Effect.void),
      Effect.tap((token) =>
        Effect.sync(() => {
          this.#token = token
          this.#warnsAt = -Infinity
          this.#warningGap = firstWarningGapMillis
        })
      )
    )
  }

  /** Warns at once, and again with a growing gap for as long as etcd refuses the password. */
  #warn({ endpoint, reason }: Failure): Effect.Effect<void> {
    if (this.#now() < this.#warnsAt) return Effect.void
    this.#warnsAt = this.#now() + this.#warningGap
    this.#warningGap = Math.min(2 * this.#warningGap, maxWarningGapMillis)
    const user = JSON.stringify(this.#credentials.username)
    return Effect.logWarning(`etcd at ${endpoint} refuses the user name or password of ${user}: ${reason.detail}`)
  }
}
