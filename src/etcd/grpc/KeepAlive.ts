/**
 * The heartbeats of all leases of a client, on one stream.
 *
 * etcd answers the heartbeats of a stream in order, each once. So an answer belongs to the oldest pending heartbeat of
 * its lease, even if the sender was interrupted meanwhile. An answer without a heartbeat ends the stream.
 *
 * If one heartbeat gets no answer in time, the stream is given up, and all pending heartbeats fail.
 *
 * @module
 */
import { Effect, Latch } from "effect"
import { lasting } from "../../internal/lasting.ts"
import { invalidArgument } from "../invalidArgument.ts"
import type { LeaseId, LeaseKeepAliveRequest, LeaseKeepAliveResponse } from "../messages/lease.ts"
import { DeadlineExceeded, type EtcdError, LeaseNotFound, Unavailable } from "../EtcdError.ts"
import { type Client, sendable } from "./Client.ts"
import { type Failure, toError } from "./failures.ts"
import { encodeLeaseKeepAlive } from "./messages/lease.ts"
import * as methods from "./methods.ts"
import { positiveMillis } from "./settings.ts"
import { type Line, type Session, sharedStream } from "./SharedStream.ts"
import { isStall, pendingInput } from "./stall.ts"

/** A pending heartbeat. */
interface Waiting {
  /** Milliseconds from the call to its deadline, including the opening of the stream. */
  readonly timeout: number
  until: number
  isPostponed: boolean
  readonly resume: (answer: Effect.Effect<LeaseKeepAliveResponse, Failure>) => void
}

/** A heartbeat to send. */
interface Heartbeat extends Pick<Waiting, "timeout" | "until"> {
  readonly id: LeaseId
  readonly message: Uint8Array
}

class Heartbeats implements Session<LeaseKeepAliveResponse> {
  readonly #client: Client
  readonly #line: Line
  /** By lease, oldest first. */
  readonly #waiting = new Map<LeaseId, Array<Waiting>>()
  readonly #wake = Latch.makeUnsafe(false)
  /** The deadline that the guard waits for. */
  #looksAt = Infinity
  #failure: Failure | undefined

  constructor(client: Client, line: Line) {
    this.#client = client
    this.#line = line
  }

  send({ id, message, timeout, until }: Heartbeat): Effect.Effect<LeaseKeepAliveResponse, Failure> {
    return Effect.callback((resume) => {
      if (this.#failure !== undefined) return resume(Effect.fail(this.#failure))
      const one = { timeout, until, isPostponed: false, resume }
      const waiting = this.#waiting.get(id)
      if (waiting === undefined) this.#waiting.set(id, [one])
      else waiting.push(one)
      if (one.until < this.#looksAt) this.#wake.openUnsafe()
      this.#line.send(message)
    })
  }

  readonly receive = (message: LeaseKeepAliveResponse): void => {
    this.#client.observe(message.header, true)
    const waiting = this.#waiting.get(message.id)
    const oldest = waiting?.shift()
    if (waiting?.length === 0) this.#waiting.delete(message.id)
    if (oldest === undefined) return this.#line.violated("the server answered a heartbeat that was never sent")
    oldest.resume(message.ttl > 0 ? Effect.succeed(message) : Effect.fail(this.#failureOf(leaseNotFound)))
  }

  ended(failure: Failure): void {
    this.#failure = failure
    const all = Array.from(this.#waiting.values()).flat()
    this.#waiting.clear()
    for (const { resume } of all) resume(Effect.fail(failure))
  }

  readonly guard: Effect.Effect<never> = lasting(Effect.suspend(() => {
    this.#wake.closeUnsafe()
    const left = this.#earliest() - this.#client.now()
    if (left === Infinity) return Latch.await(this.#wake)
    if (left > 0) return Effect.raceFirst(Effect.sleep(Math.ceil(left)), Latch.await(this.#wake))
    if (isStall(-left) && this.#postpone()) return Effect.void
    return Effect.flatMap(pendingInput, () => this.#giveUp())
  }))

  /** Restarts the time limit of each late heartbeat that has not been postponed before. Returns whether it found any. */
  #postpone(): boolean {
    const now = this.#client.now()
    const late = Array.from(this.#waiting.values()).flat().filter((one) => one.until <= now && !one.isPostponed)
    for (const one of late) {
      one.until = now + one.timeout
      one.isPostponed = true
    }
    return late.length > 0
  }

  /** The earliest deadline of a heartbeat. */
  #earliest(): number {
    this.#looksAt = Infinity
    for (const waiting of this.#waiting.values()) {
      for (const { until } of waiting) this.#looksAt = Math.min(this.#looksAt, until)
    }
    return this.#looksAt
  }

  /** Ends the stream if a heartbeat is still late, and fails all that are pending. */
  #giveUp(): Effect.Effect<void> {
    const now = this.#client.now()
    const all = Array.from(this.#waiting.values()).flat()
    const late = all.find(({ until }) => until <= now)
    if (late === undefined) return Effect.void
    const detailOf = ({ timeout }: Waiting) => `no answer to a heartbeat within ${timeout} ms`
    const another = new Unavailable({ detail: `another heartbeat: ${detailOf(late)}` })
    // Do this before reporting a failure, since a caller may send again at once.
    this.#waiting.clear()
    this.#line.abandon(another)
    for (const one of all) {
      const reason = one.until <= now ? new DeadlineExceeded({ detail: detailOf(one) }) : another
      one.resume(Effect.fail(this.#failureOf(reason)))
    }
    return Effect.never
  }

  #failureOf(reason: Failure["reason"]): Failure {
    return { reason, endpoint: this.#line.endpoint }
  }
}

const leaseNotFound = new LeaseNotFound({ detail: "etcdserver: requested lease not found" })

/** The id of a lease as text, for errors. */
export const leaseText = (id: LeaseId): string => typeof id === "bigint" ? id.toString(16) : String(id)

/** `Etcd.leaseKeepAlive` of a client. */
export const makeKeepAlive = (
  client: Client
): (request: LeaseKeepAliveRequest) => Effect.Effect<LeaseKeepAliveResponse, EtcdError> => {
  const method = "leaseKeepAlive"
  const withSession = sharedStream<LeaseKeepAliveResponse, Heartbeats>(
    client,
    methods.leaseKeepAlive,
    (line) => new Heartbeats(client, line)
  )

  return ({ id, timeout = client.settings.requestTimeoutMillis }) => {
    const key = () => leaseText(id)
    const millis = positiveMillis(timeout)
    if (millis === undefined) return Effect.fail(invalidArgument(method, "timeout must be positive and finite", key()))
    return Effect.mapError(
      Effect.flatMap(sendable(() => encodeLeaseKeepAlive(id)), (message) => {
        const heartbeat = { id, message, timeout: millis, until: client.now() + millis }
        return withSession((heartbeats) => heartbeats.send(heartbeat), millis)
      }),
      (failure) => toError(failure, method, key())
    )
  }
}
