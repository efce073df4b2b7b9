/**
 * One bidirectional stream per client for everybody who needs it: opened when somebody does, open for as long as the
 * client lives, replaced when it has ended and somebody needs it again.
 *
 * What arrives is handed to the stream's {@link Session}, which passes it on and waits for nothing. One fiber guards the
 * session and tells it when the stream has ended.
 *
 * @module
 */
import { Cause, Deferred, Effect, Exit, Option, Semaphore } from "effect"
import { type EtcdErrorReason, Unknown } from "../EtcdError.ts"
import type { Access, Client } from "./Client.ts"
import { clientClosed, type Failure, GrpcStatus, messageOf, tokenRenewed } from "./failures.ts"
import type { Method } from "./methods.ts"

/** One open stream, as seen by its session. */
export interface Line {
  readonly endpoint: string
  /** Does nothing once the stream has ended. */
  readonly send: (message: Uint8Array) => void
  /** Ends the stream. A failure that names the auth token also makes the client get a new one. */
  readonly end: (failure: Failure) => void
  /** Ends the stream because the server does not answer, and with it everything else on that connection. */
  readonly abandon: (reason: EtcdErrorReason) => void
}

/** What one stream is used for, from its opening to its end. */
export interface Session<Message> {
  /** Takes what has arrived. */
  readonly receive: (message: Message) => void
  /** The stream has ended. Called once; nothing is received any more. */
  readonly ended: (failure: Failure) => void
  /** Runs while the stream is open. */
  readonly guard: Effect.Effect<never>
}

/** Uses the session of the stream that is open; opens one if there is none. Openings are serialised and paced. */
export const sharedStream = <Message, S extends Session<Message>>(
  client: Client,
  method: Method<Message>,
  makeSession: (line: Line) => S
): <A, E>(use: (session: S) => Effect.Effect<A, E>) => Effect.Effect<A, E | Failure> => {
  const opening = Semaphore.makeUnsafe(1)
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
    if (current !== undefined) return current
    yield* client.pauseSince(openedAt)
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

  return (use) =>
    Effect.suspend(() =>
      current === undefined ? Effect.flatMap(Semaphore.withPermit(opening, open), use) : use(current)
    )
}

/** A fiber that was interrupted means that the client's scope has closed; one that died, a message nobody can read. */
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
  const endpoint = connection.endpoint.address.url
  // A member that has lost its cluster ends the stream instead of keeping it open in silence.
  const headers = { ...access.headers, hasleader: "true" }
  const stream = connection.channel.duplex(method, headers, {
    onMessage: receive,
    onEnd: (status) => end(client.failed(access, status.code === 0 ? endedByServer : status))
  })

  let open = true
  const end = (failure: Failure) => {
    if (!open) return
    open = false
    connection.streams.delete(end)
    stream.cancel()
    const stale = client.isStaleToken(failure.reason.detail)
    if (stale) client.dropToken(access)
    ended(stale ? tokenRenewed(failure) : failure)
  }
  connection.streams.add(end)

  return {
    endpoint,
    send: (message) => {
      if (open) stream.write(message)
    },
    end,
    abandon: (reason) => {
      if (!open) return
      end({ reason, endpoint })
      client.abandon(access, `another stream of the connection has ended: ${reason.detail}`)
    }
  }
}
