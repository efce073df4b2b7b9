/**
 * The heartbeats of all leases of a client, on one stream.
 *
 * etcd answers the heartbeats of a stream in their order. So an answer for a lease belongs to the oldest heartbeat of
 * that lease which has none yet, also when whoever sent it has left meanwhile.
 *
 * @module
 */
import { Deferred, Effect, Exit } from "effect"
import { invalidArgument, type LeaseId, type LeaseKeepAliveRequest, type LeaseKeepAliveResponse } from "../Etcd.ts"
import { DeadlineExceeded, type EtcdError, LeaseNotFound, Unavailable } from "../EtcdError.ts"
import type { Client } from "./Client.ts"
import { type Failure, toError } from "./failures.ts"
import { decode } from "./messages.ts"
import { positiveMillis } from "./settings.ts"
import { type Line, type Session, sharedStream } from "./SharedStream.ts"

type Answer = Deferred.Deferred<LeaseKeepAliveResponse, Failure>

class Heartbeats implements Session<LeaseKeepAliveResponse> {
  readonly line: Line
  readonly guard = Effect.never
  /** By lease, the oldest first. */
  readonly #waiting = new Map<LeaseId, Array<Answer>>()
  #failure: Failure | undefined

  constructor(line: Line) {
    this.line = line
  }

  send(id: LeaseId): Effect.Effect<LeaseKeepAliveResponse, Failure> {
    return Effect.suspend(() => {
      if (this.#failure !== undefined) return Effect.fail(this.#failure)
      const answer: Answer = Deferred.makeUnsafe()
      const waiting = this.#waiting.get(id)
      if (waiting === undefined) this.#waiting.set(id, [answer])
      else waiting.push(answer)
      this.line.send({ ID: String(id) })
      return Deferred.await(answer)
    })
  }

  readonly receive = (messages: ReadonlyArray<LeaseKeepAliveResponse>): void => {
    for (const message of messages) {
      const waiting = this.#waiting.get(message.id)
      const answer = waiting?.shift()
      if (waiting?.length === 0) this.#waiting.delete(message.id)
      if (answer !== undefined) Deferred.doneUnsafe(answer, Exit.succeed(message))
    }
  }

  ended(failure: Failure): void {
    this.#failure = failure
    for (const waiting of this.#waiting.values()) {
      for (const answer of waiting) Deferred.doneUnsafe(answer, Exit.fail(failure))
    }
    this.#waiting.clear()
  }
}

/** `Etcd.leaseKeepAlive` of a client. */
export const makeKeepAlive = (
  client: Client
): (request: LeaseKeepAliveRequest) => Effect.Effect<LeaseKeepAliveResponse, EtcdError> => {
  const method = "leaseKeepAlive"
  const session = sharedStream<LeaseKeepAliveResponse, Heartbeats>(
    client,
    { service: "Lease", method },
    decode.lease,
    (line) => new Heartbeats(line)
  )

  const beat = Effect.fnUntraced(function* (id: LeaseId, timeout: number) {
    const heartbeats = yield* session
    const answer = yield* heartbeats.send(id).pipe(Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.suspend(() => {
          const detail = `no answer to a heartbeat within ${timeout} ms`
          heartbeats.line.abandon(new Unavailable({ detail: `another heartbeat: ${detail}` }))
          return Effect.fail({ reason: new DeadlineExceeded({ detail }), endpoint: heartbeats.line.endpoint })
        })
    }))
    if (answer.ttl > 0) return answer
    const reason = new LeaseNotFound({ detail: "etcdserver: requested lease not found" })
    return yield* Effect.fail<Failure>({ reason, endpoint: heartbeats.line.endpoint })
  })

  return ({ id, timeout = client.settings.requestTimeout }) => {
    const key = id.toString(16)
    const millis = positiveMillis(timeout)
    if (millis === undefined) return Effect.fail(invalidArgument(method, "timeout must be positive and finite", key))
    if (BigInt.asIntN(64, id) !== id) return Effect.fail(invalidArgument(method, "id must fit into 64 bits", key))
    return Effect.mapError(beat(id, millis), (failure) => toError(failure, method, key))
  }
}
