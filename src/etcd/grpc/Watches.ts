/**
 * The watches of a client, on one stream.
 *
 * The stream counts its watches itself and never uses a number twice: etcd holds on to the number of a watch that it has
 * cancelled. It answers creations in their order, and refuses one without saying which (`watch_id` -1), so the order is
 * what tells. What arrives for a number that is not watched (any more) is ignored.
 *
 * A silent server is told from an idle one by asking. Since 3.5.18, etcd does not answer a progress request while any
 * watch of the stream starts at a revision that does not exist yet, as a watch does that follows a read. In that case a
 * watch that can never say anything is created and cancelled: a creation is always answered.
 *
 * @module
 */
import { Effect, Latch, Stream } from "effect"
import { Inbox } from "../../internal/Inbox.ts"
import {
  invalidArgument,
  type ResponseHeader,
  toBytes,
  type WatchEvent,
  type WatchRequest,
  type WatchResponse
} from "../Etcd.ts"
import {
  Cancelled,
  Compacted,
  DeadlineExceeded,
  type EtcdError,
  type EtcdErrorReason,
  Unauthenticated,
  Unavailable
} from "../EtcdError.ts"
import { type Client, sendable } from "./Client.ts"
import { type Failure, reasonOfText, toError } from "./failures.ts"
import { encode, type WatchMessage } from "./messages.ts"
import * as methods from "./methods.ts"
import { positiveMillis } from "./settings.ts"
import { type Line, type Session, sharedStream } from "./SharedStream.ts"

/** Responses a reader may lag behind before its watch is given up. */
const capacity = 1024

interface WatchOptions {
  readonly request: WatchRequest
  /** The request as it is sent, without a number. */
  readonly message: Uint8Array
  readonly responses: Inbox<WatchResponse, EtcdError>
  /** Milliseconds. */
  readonly progressEvery: number
  /** Milliseconds. */
  readonly progressTimeout: number
}

interface Watch extends Omit<WatchOptions, "message"> {
  readonly id: number
  created: boolean
  /** The beginning of a response that has not arrived as a whole. */
  fragments: Array<WatchEvent>
}

class WatchSession implements Session<WatchMessage> {
  readonly #client: Client
  readonly #line: Line
  readonly #watches = new Map<number, Watch>()
  /** The numbers of the creations that are not answered, in order. */
  readonly #creating: Array<number> = []
  readonly #wake = Latch.makeUnsafe(false)
  #nextId = 1
  #revision = 0n
  #heardAt: number
  #askedAt: number | undefined
  #failure: Failure | undefined

  constructor(client: Client, line: Line) {
    this.#client = client
    this.#line = line
    this.#heardAt = client.now()
  }

  add({ message, ...options }: WatchOptions): Watch {
    const watch = { ...options, id: this.#create(message), created: false, fragments: [] }
    if (this.#failure === undefined) this.#watches.set(watch.id, watch)
    else this.#fail(watch, this.#failure)
    return watch
  }

  /** Ends a watch whose reader has left. */
  remove({ id }: Watch): void {
    if (this.#watches.delete(id)) this.#cancel(id)
  }

  readonly receive = (message: WatchMessage): void => {
    this.#heardAt = this.#client.now()
    if (this.#askedAt !== undefined) {
      this.#askedAt = undefined
      this.#wake.openUnsafe()
    }
    this.#dispatch(message)
  }

  ended(failure: Failure): void {
    this.#failure = failure
    for (const watch of this.#watches.values()) this.#fail(watch, failure)
    this.#watches.clear()
  }

  /** Requests progress from a server that was silent for a while, and ends the stream if no answer arrives. */
  readonly guard: Effect.Effect<never> = Effect.forever(Effect.suspend(() => {
    this.#wake.closeUnsafe()
    const watches = [...this.#watches.values()]
    const asked = this.#askedAt !== undefined
    const patience = Math.min(...watches.map((watch) => asked ? watch.progressTimeout : watch.progressEvery))
    const left = (this.#askedAt ?? this.#heardAt) + patience - this.#client.now()
    if (left > 0) {
      return Effect.raceFirst(left === Infinity ? Effect.never : Effect.sleep(left), Latch.await(this.#wake))
    }
    if (!asked) return Effect.sync(() => this.#ask(watches))
    this.#line.abandon(new DeadlineExceeded({ detail: `no answer on the watch stream within ${patience} ms` }))
    return Effect.never
  }))

  #ask(watches: ReadonlyArray<Watch>): void {
    this.#askedAt = this.#client.now()
    const future = watches.find(({ request: { startRevision = 0n } }) => startRevision > this.#revision)
    if (future === undefined) this.#line.send(encode.watchProgress())
    else this.#create(encode.silentWatch(future.request))
  }

  #create(message: Uint8Array): number {
    const id = this.#nextId++
    this.#creating.push(id)
    this.#line.send(encode.watchCreate(message, id))
    this.#askedAt ??= this.#client.now()
    this.#wake.openUnsafe()
    return id
  }

  #cancel(id: number): void {
    this.#line.send(encode.watchCancel(id))
  }

  #dispatch(message: WatchMessage): void {
    const { header } = message
    if (header.revision > this.#revision) this.#revision = header.revision
    const created = message.created ? this.#creating.shift() : undefined
    const watch = this.#watches.get(created ?? message.watchId)
    if (watch === undefined) {
      // The creation was only a question, or its reader has left meanwhile: then this is its second cancellation.
      if (created !== undefined && !message.canceled) this.#cancel(created)
    } else if (message.canceled) {
      this.#refuse(watch, message)
    } else if (created !== undefined) {
      const { startRevision = 0n } = watch.request
      // Operations have moved on to another member and have seen more there: a member that is being shut down answers
      // its old streams for some time, without hearing of anything new.
      if (header.revision + 1n < startRevision && !this.#client.connections.uses(this.#line.endpoint)) {
        const reason = new Unavailable({ detail: "the member of the watch stream is behind the one in use" })
        return this.#line.end({ reason, endpoint: this.#line.endpoint })
      }
      watch.created = true
      this.#offer(watch, { _tag: "Created", header })
    } else if (message.fragment) {
      for (const event of message.events) watch.fragments.push(event)
    } else {
      this.#deliver(watch, header, message.events)
    }
  }

  #deliver(watch: Watch, header: ResponseHeader, last: ReadonlyArray<WatchEvent>): void {
    const events = watch.fragments.length === 0 ? last : watch.fragments.concat(last)
    if (events.length === 0) return this.#offer(watch, { _tag: "Progress", header })
    watch.fragments = []
    this.#offer(watch, { _tag: "Events", header, events })
  }

  #offer(watch: Watch, response: WatchResponse): void {
    if (watch.responses.offer(response) || response._tag === "Progress") return
    this.remove(watch)
    const reason = new Cancelled({ detail: `the reader fell ${capacity} responses behind` })
    this.#fail(watch, { reason, endpoint: this.#line.endpoint })
  }

  /** The server does not watch (any more), and says why. */
  #refuse(watch: Watch, message: WatchMessage): void {
    const { cancelReason: detail } = message
    const failure = { reason: refusalOf(message), endpoint: this.#line.endpoint }
    // The token belongs to the stream: all its watches have to start again.
    if (this.#client.isStaleToken(detail)) {
      return this.#line.end({ ...failure, reason: new Unauthenticated({ detail }) })
    }
    this.#watches.delete(watch.id)
    // etcd keeps what it knows of a watch that compaction has overtaken until it is cancelled.
    if (failure.reason._tag === "Compacted") this.#cancel(watch.id)
    this.#fail(watch, failure)
  }

  #fail(watch: Watch, failure: Failure): void {
    watch.responses.fail(toError(failure, "watch", keyText(watch.request)))
  }
}

const refusalOf = (message: WatchMessage): EtcdErrorReason => {
  const { cancelReason, compactRevision } = message
  if (compactRevision !== 0n) {
    return new Compacted({ detail: "etcdserver: mvcc: required revision has been compacted", compactRevision })
  }
  const detail = cancelReason === "" ? "the server gave no reason" : cancelReason
  return reasonOfText(detail) ?? new Cancelled({ detail })
}

const decoder = new TextDecoder()

/** A key as errors show it. */
export const keyText = ({ key }: Pick<WatchRequest, "key">): string => decoder.decode(toBytes(key))

/** `Etcd.watch` of a client. */
export const makeWatch = (client: Client): (request: WatchRequest) => Stream.Stream<WatchResponse, EtcdError> => {
  const withSession = sharedStream<WatchMessage, WatchSession>(
    client,
    methods.watch,
    (line) => new WatchSession(client, line)
  )

  return (request) =>
    Stream.unwrap(Effect.gen(function* () {
      const progressEvery = positiveMillis(request.progressEvery ?? "10 seconds")
      const progressTimeout = positiveMillis(request.progressTimeout ?? "5 seconds")
      const fail = (detail: string) => Effect.fail(invalidArgument("watch", detail, keyText(request)))
      if (progressEvery === undefined) return yield* fail("progressEvery must be positive and finite")
      if (progressTimeout === undefined) return yield* fail("progressTimeout must be positive and finite")
      const named = Effect.mapError((failure: Failure) => toError(failure, "watch", keyText(request)))
      const message = yield* named(sendable(() => encode.watch(request)))
      const responses = new Inbox<WatchResponse, EtcdError>(capacity)
      const watches = yield* named(withSession(Effect.succeed))
      yield* Effect.acquireRelease(
        Effect.sync(() => watches.add({ request, message, responses, progressEvery, progressTimeout })),
        (watch) => Effect.sync(() => watches.remove(watch))
      )
      return Stream.fromPull(Effect.succeed(responses.takeAll))
    }))
}
