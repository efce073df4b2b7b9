/**
 * The auth token of a client. It is fetched when a call needs it; all waiting calls share one request.
 *
 * @module
 */
import { Cause, Effect, Exit, Redacted } from "effect"
import { Unavailable } from "../EtcdError.ts"
import type { Connection } from "./Connections.ts"
import { type Failure, messageOf } from "./failures.ts"
import { encodeAuthenticate } from "./messages/auth.ts"
import type { Credentials } from "./settings.ts"
import { SharedAttempt } from "./SharedAttempt.ts"
import { logWarning } from "../../internal/log.ts"

/** What {@link Authentication} is made from. */
export interface AuthenticationConfig {
  readonly credentials: Credentials
  /** How long reading the password may take. */
  readonly passwordTimeoutMillis: number
  /** Sends an authentication request over a connection and returns the token. */
  readonly authenticate: (connection: Connection, request: Uint8Array) => Effect.Effect<string, Failure>
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Runs an effect for as long as the client lives. */
  readonly run: (effect: Effect.Effect<void>) => void
}

/** Milliseconds between two warnings about a refused password: the first gap, and the longest. */
const firstWarningGapMillis = 60_000
const maxWarningGapMillis = 3_600_000

/** See the module's description. */
export class Authentication {
  readonly #config: AuthenticationConfig
  readonly #fetching: SharedAttempt<string>
  #token: string | undefined
  #warnsAt = -Infinity
  #warningGap = firstWarningGapMillis

  constructor(config: AuthenticationConfig) {
    this.#config = config
    this.#fetching = new SharedAttempt(config.run)
  }

  /** Whether there is a token, so that {@link token} does not wait. */
  get isKnown(): boolean {
    return this.#token !== undefined
  }

  /** The token; empty if the cluster has no authentication. */
  token(connection: Connection): Effect.Effect<string, Failure> {
    return Effect.suspend(() =>
      this.#token === undefined ? this.#fetching.join(this.#fetch(connection)) : Effect.succeed(this.#token)
    )
  }

  /** Drops a token, so that the next call gets a new one. Does nothing if there is a newer token. */
  drop(token: string | undefined): void {
    if (token === this.#token) this.#token = undefined
  }

  #fetch(connection: Connection): Effect.Effect<string, Failure> {
    const { authenticate, credentials: { password, username }, passwordTimeoutMillis } = this.#config
    const unreadable = (why: string) =>
      new Unavailable({ detail: `cannot read the password of ${JSON.stringify(username)}: ${why}` })
    // The effect is code of the user: whatever it raises or returns is a failure, for the fiber serves all calls.
    const read = Effect.flatMap(Effect.exit(password), (exit): Effect.Effect<string, Failure> => {
      if (Exit.isFailure(exit)) {
        const cause = Cause.squash(exit.cause)
        return Effect.fail({ reason: unreadable(messageOf(cause)), cause })
      }
      const text: unknown = Redacted.isRedacted(exit.value) ? Redacted.value(exit.value) : undefined
      return typeof text === "string" ?
        Effect.succeed(text) :
        Effect.fail({ reason: unreadable("it is no Redacted text") })
    })
    return read.pipe(
      // The next call that needs a token reads the password again.
      Effect.timeoutOrElse({
        duration: passwordTimeoutMillis,
        orElse: () => Effect.fail<Failure>({ reason: unreadable(`no result within ${passwordTimeoutMillis} ms`) })
      }),
      Effect.flatMap((password) => authenticate(connection, encodeAuthenticate({ name: username, password }))),
      Effect.filterOrFail(
        (token) => /^[\x20-\x7e]*$/.test(token),
        (): Failure => ({
          reason: new Unavailable({ detail: "the server sent an auth token that no header can carry" })
        })
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

  /** Warns at once, and then at growing intervals while etcd refuses the password. */
  #warn({ endpoint, reason }: Failure): Effect.Effect<void> {
    const now = this.#config.now()
    if (now < this.#warnsAt) return Effect.void
    this.#warnsAt = now + this.#warningGap
    this.#warningGap = Math.min(2 * this.#warningGap, maxWarningGapMillis)
    const user = JSON.stringify(this.#config.credentials.username)
    return logWarning(`etcd at ${endpoint} refuses the user name or password of ${user}: ${reason.detail}`)
  }
}
