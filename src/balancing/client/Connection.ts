/**
 * The client of one instance: opened on first use, shared by all calls, closed once.
 *
 * `connect` runs in its own fiber. A caller that gives up does not interrupt it for the others. A `connect` that
 * exceeds its time limit is abandoned, even if it is uninterruptible. If it creates a client later, that client is
 * closed at once.
 *
 * ```
 * Idle ── client ──▶ Connecting ── success ──▶ Connected         any ── retire ──▶ Closed
 *                     ▲      │ failure, time limit
 *   backoff has passed│      ▼
 *                     └── Failed
 * ```
 *
 * @module
 */
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { formatDuration } from "../../internal/time/format.ts"
import type { Steps } from "../../internal/time/Steps.ts"
import { ConnectFailed, TimedOut } from "./errors.ts"
import { logWarning } from "../../internal/log.ts"

/**
 * The state of the client of one instance.
 *
 * @since 0.1.0
 * @category models
 */
export type ConnectionStatus = "idle" | "connecting" | "connected" | "failed" | "closed"

/** The dependencies of a {@link Connection}. */
export interface ConnectionOptions<A> {
  readonly service: string
  readonly id: string
  readonly connect: (scope: Scope.Scope) => Effect.Effect<A, unknown>
  readonly connectTimeout: Duration.Duration
  /** How long calls in flight may delay closing. */
  readonly closeTimeout: Duration.Duration
  /** The delays after consecutive failures. */
  readonly backoff: () => Steps<unknown>
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
  /** Runs a supervising effect until the service client closes. */
  readonly run: (effect: Effect.Effect<void>) => void
  /** Runs `connect` under the supervision of this module. */
  readonly fork: <B, E>(effect: Effect.Effect<B, E>) => Fiber.Fiber<B, E>
  /** Called when `connect` has failed. `until` (milliseconds) is the time of the next try. */
  readonly onFailure: (error: ConnectFailed, until: number) => void
}

type State<A> =
  | { readonly _tag: "Idle" }
  | {
    readonly _tag: "Connecting"
    readonly client: Deferred.Deferred<A, ConnectFailed>
    readonly fiber: Fiber.Fiber<A, unknown>
    readonly scope: Scope.Closeable
  }
  | { readonly _tag: "Connected"; readonly client: Effect.Effect<A>; readonly scope: Scope.Closeable }
  | { readonly _tag: "Failed"; readonly until: number; readonly error: ConnectFailed }
  | { readonly _tag: "Closed"; readonly error: ConnectFailed }

/** The delay after a failure if the backoff schedule itself dies. */
const fallbackDelay = Duration.seconds(30)

/** The client of one instance. */
export class Connection<A> {
  readonly #options: ConnectionOptions<A>
  #state: State<A> = { _tag: "Idle" }
  #inFlight = 0
  #idle: Deferred.Deferred<void> | undefined
  /** The backoff since the last success. */
  #steps: Steps<unknown> | undefined

  constructor(options: ConnectionOptions<A>) {
    this.#options = options
  }

  get status(): ConnectionStatus {
    return statuses[this.#state._tag]
  }

  /** The time at which `connect` may run again, in milliseconds. 0 unless it failed. */
  get blockedUntil(): number {
    return this.#state._tag === "Failed" ? this.#state.until : 0
  }

  /** Returns the client, and opens it if necessary. Call `begin` first. */
  readonly client: Effect.Effect<A, ConnectFailed> = Effect.suspend(() => {
    const state = this.#state
    switch (state._tag) {
      case "Connected":
        return state.client
      case "Connecting":
        return Deferred.await(state.client)
      case "Closed":
        return Effect.fail(state.error)
      case "Failed":
        return state.until > this.#options.now() ? Effect.fail(state.error) : Deferred.await(this.open())
      case "Idle":
        return Deferred.await(this.open())
    }
  })

  /** Starts `connect`. */
  open(): Deferred.Deferred<A, ConnectFailed> {
    const { connect, connectTimeout, fork, run } = this.#options
    const scope = Scope.makeUnsafe()
    const client = Deferred.makeUnsafe<A, ConnectFailed>()
    const fiber = fork(connect(scope))
    this.#state = { _tag: "Connecting", client, fiber, scope }
    run(
      Fiber.await(fiber).pipe(
        Effect.timeoutOption(connectTimeout),
        Effect.flatMap(Option.match({
          onNone: () => {
            this.#abandon(fiber, scope)
            return this.#failed(client, Cause.fail(new TimedOut({ what: "connect", limit: connectTimeout })))
          },
          onSome: Exit.match({
            onSuccess: (made) => Effect.sync(() => this.#connected(client, scope, made)),
            onFailure: (cause) =>
              Effect.andThen(Effect.ignoreCause(Scope.close(scope, Exit.void)), this.#failed(client, cause))
          })
        }))
      )
    )
    return client
  }

  /** Records the start of a call. */
  begin(): void {
    this.#inFlight += 1
  }

  /** Records the end of a call. */
  end(): void {
    this.#inFlight -= 1
    if (this.#inFlight === 0 && this.#idle !== undefined) Deferred.doneUnsafe(this.#idle, Effect.void)
  }

  /**
   * Closes the client when no calls are in flight, at the latest after `closeTimeout`. Completes when the client is
   * closed.
   */
  readonly retire: Effect.Effect<void> = Effect.suspend(() => {
    const idle = this.#idle ??= Deferred.makeUnsafe<void>()
    if (this.#inFlight === 0) Deferred.doneUnsafe(idle, Effect.void)
    return Effect.andThen(
      Effect.timeoutOption(Deferred.await(idle), this.#options.closeTimeout),
      Effect.suspend(() => this.#close())
    )
  }).pipe(Effect.uninterruptible)

  #close(): Effect.Effect<void> {
    const state = this.#state
    const { closeTimeout, id, service } = this.#options
    const error = new ConnectFailed({ service, id, cause: Cause.fail(new Error("the instance has left")) })
    this.#state = { _tag: "Closed", error }
    if (state._tag === "Connected") {
      return closeWithin(state.scope, closeTimeout)
    }
    if (state._tag === "Connecting") {
      Deferred.doneUnsafe(state.client, Effect.fail(error))
      this.#abandon(state.fiber, state.scope)
      return Effect.asVoid(Effect.timeoutOption(Fiber.await(state.fiber), closeTimeout))
    }
    return Effect.void
  }

  #connected(client: Deferred.Deferred<A, ConnectFailed>, scope: Scope.Closeable, made: A): void {
    // If the connection was closed meanwhile, `#close` closes the scope.
    if (!this.#isConnecting(client)) return
    this.#state = { _tag: "Connected", client: Effect.succeed(made), scope }
    this.#steps = undefined
    Deferred.doneUnsafe(client, Effect.succeed(made))
  }

  #failed(client: Deferred.Deferred<A, ConnectFailed>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const { backoff, id, now, onFailure, service } = this.#options
    return Effect.gen({ self: this }, function* () {
      this.#steps ??= backoff()
      const step = yield* Effect.exit(this.#steps.next(cause))
      if (!this.#isConnecting(client)) return
      const delay = Exit.isSuccess(step) ? step.value : Option.some(fallbackDelay)
      const error = new ConnectFailed({
        service,
        id,
        cause: Exit.isSuccess(step) ? cause : Cause.combine(cause, step.cause)
      })
      const until = now() + Option.match(delay, { onNone: () => Infinity, onSome: Duration.toMillis })
      this.#state = { _tag: "Failed", until, error }
      onFailure(error, until)
      Deferred.doneUnsafe(client, Effect.fail(error))
    })
  }

  #isConnecting(client: Deferred.Deferred<A, ConnectFailed>): boolean {
    return this.#state._tag === "Connecting" && this.#state.client === client
  }

  /** Interrupts `connect` without waiting, and closes whatever it opened once it ends. */
  #abandon(fiber: Fiber.Fiber<A, unknown>, scope: Scope.Closeable): void {
    const { closeTimeout, fork } = this.#options
    fiber.addObserver(() => void fork(closeWithin(scope, closeTimeout)))
    fiber.interruptUnsafe()
  }
}

/** Closes a client. Abandons a finalizer that exceeds the limit, and logs one that dies. */
const closeWithin = (scope: Scope.Closeable, limit: Duration.Duration): Effect.Effect<void> =>
  Effect.gen(function* () {
    const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true })
    const closed = yield* Effect.timeoutOption(Fiber.await(closing), limit)
    if (Option.isNone(closed)) yield* logWarning(`closing a client took longer than ${formatDuration(limit)}`)
    else if (Exit.isFailure(closed.value)) yield* logWarning("closing a client failed", closed.value.cause)
  }).pipe(Effect.ignoreCause)

const statuses: Readonly<Record<State<unknown>["_tag"], ConnectionStatus>> = {
  Idle: "idle",
  Connecting: "connecting",
  Connected: "connected",
  Failed: "failed",
  Closed: "closed"
}
