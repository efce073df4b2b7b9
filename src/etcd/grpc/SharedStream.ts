/**
 * A bidirectional stream that a client opens on first use and keeps open until it closes. If the stream ends, the next
 * use opens another.
 *
 * Each message goes to the stream's {@link Session}, which passes it on without waiting. One fiber guards the session
 * and reports the end of the stream to it.
 *
 * @module
 */
import { Cause, Deferred, Effect, Exit, Option } from "effect"
import { DeadlineExceeded, type EtcdErrorReason, Unavailable, Unknown } from "../EtcdError.ts"
import type { Access, Client } from "./Client.ts"
import { clientClosed, type Failure, GrpcStatus, messageOf, tokenRenewed } from "./failures.ts"
import type { Method } from "./methods.ts"
import { SharedAttempt } from "./SharedAttempt.ts"

/** The stream that a session uses. */
export interface Line {
  readonly endpoint: string
  readonly access: Access
  /** Has no effect once the stream has ended. */
  readonly send: (message: Uint8Array) => void
  /** Ends the stream. A failure that names the auth token also makes the client get a new one. */
  readonly end: (failure: Failure) => void
  /** Ends the stream because the server does not answer, and all other streams on that connection. */
  readonly abandon: (reason: EtcdErrorReason) => void
  /** Ends the stream of a server that breaks the protocol. Later calls use another connection. */
  readonly violated: (detail: string) => void
}

/** The user of one stream, from its opening to its end. */
export interface Session<Message> {
  readonly receive: (message: Message) => void
  /** Called once, when the stream has ended. No message follows. */
  readonly ended: (failure: Failure) => void
  /** Runs while the stream is open. */
  readonly guard: Effect.Effect<never>
}

/** Milliseconds between two openings of a stream, so that a caller's loop cannot flood a server. */
const minOpeningGapMillis = 100

/**
 * Uses the session of the open stream. Opens a stream if there is none.
 *
 * All waiting uses share one opening and its failure. A use waits for at most `limitMillis`.
 */
export const sharedStream = <Message, S extends Session<Message>>(
  client: Client,
  method: Method<Message>,
  makeSession: (line: Line) => S
): <A, E>(use: (session: S) => Effect.Effect<A, E>, limitMillis?: number) => Effect.Effect<A, E | Failure> => {
  const opening = new SharedAttempt<S>(client.run)
  let current: S | undefined
  let openedAt = -Infinity

  const serve = (line: Line, session: S, ended: Deferred.Deferred<never, Failure>): Effect.Effect<void> =>
    Effect.raceFirst(Deferred.await(ended), session.guard).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          const failure = failureOfExit(exit)
          line.end(failure)
          session.ended(failure)
        })
      ),
      Effect.ignore
    )

  const open = Effect.gen(function* () {
    const gap = openedAt + minOpeningGapMillis - client.now()
    if (gap > 0) yield* Effect.sleep(gap)
    const access = yield* client.access
    const ended = yield* Deferred.make<never, Failure>()
    if (client.isClosed) return yield* Effect.fail(clientClosed)
    openedAt = client.now()
    const line = openLine(client, method, access, {
      receive: (message) => session.receive(message),
      ended: (failure) => {
        if (current === session) current = undefined
        Deferred.doneUnsafe(ended, Exit.fail(failure))
      }
    })
    const session = current = makeSession(line)
    client.run(serve(line, session, ended))
    return session
  })

  return (use, limitMillis) =>
    Effect.suspend(() => {
      if (current !== undefined) return use(current)
      if (client.isClosed) return Effect.fail(clientClosed)
      const joined = opening.join(open)
      const opened = limitMillis === undefined ? joined : Effect.timeoutOrElse(joined, {
        duration: limitMillis,
        orElse: () =>
          Effect.fail({ reason: new DeadlineExceeded({ detail: `no stream within ${Math.round(limitMillis)} ms` }) })
      })
      return Effect.flatMap(opened, use)
    })
}

/** An interrupted fiber means that the client's scope has closed. Any other defect is a bug, and ends the stream. */
const failureOfExit = (exit: Exit.Exit<never, Failure>): Failure => {
  if (Exit.isSuccess(exit) || Exit.hasInterrupts(exit)) return clientClosed
  return Option.getOrElse(Cause.findErrorOption(exit.cause), () => {
    const cause = Cause.squash(exit.cause)
    return { reason: new Unknown({ detail: messageOf(cause) }), cause }
  })
}

const endedByServer = new GrpcStatus(14, "the server ended the stream")

const openLine = <Message>(
  client: Client,
  method: Method<Message>,
  access: Access,
  { ended, receive }: Pick<Session<Message>, "ended" | "receive">
): Line => {
  const { connection } = access
  const { endpoint } = connection
  // With this header, a member without a leader ends the stream instead of keeping it open in silence.
  const headers = { ...access.headers, hasleader: "true" }
  const stream = connection.channel.duplex(method, headers, {
    onMessage: (message) => {
      try {
        receive(message)
      } catch (cause) {
        end({ reason: new Unknown({ detail: messageOf(cause) }), endpoint, cause })
      }
    },
    onEnd: (status) => end(client.failed(access, status.code === 0 ? endedByServer : status))
  })

  let isOpen = true
  const end = (failure: Failure) => {
    if (!isOpen) return
    isOpen = false
    connection.streams.delete(end)
    stream.cancel()
    const isStale = client.isStaleToken(failure.reason.detail)
    if (isStale) client.dropToken(access)
    ended(isStale ? tokenRenewed(failure) : failure)
  }
  connection.streams.add(end)

  return {
    endpoint,
    access,
    send: (message) => {
      if (isOpen) stream.send(message)
    },
    end,
    abandon: (reason) => {
      if (!isOpen) return
      end({ reason, endpoint })
      client.abandon(access, `another stream of the connection has ended: ${reason.detail}`)
    },
    violated: (detail) => {
      client.connections.retire(connection)
      end({ reason: new Unavailable({ detail }), endpoint })
    }
  }
}
