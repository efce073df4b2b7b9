/**
 * The watches of a client, on one stream.
 *
 * **Details**
 *
 * Each creation carries an id that is new on the stream, because etcd keeps the id of a watch that it has cancelled.
 * etcd's proxy chooses ids of its own and answers creations in any order, so an answer names its creation only if no
 * other creation is in flight. Therefore creations are sent one at a time, as clientv3 does, until the server has
 * answered one with the id that it carried: that is etcd, which answers in order. A refusal carries no id (`watch_id`
 * is -1).
 *
 * Responses are checked: if an event lies outside its watch's range, if revisions go back, or if the cluster changes,
 * the stream ends.
 *
 * A silent server is probed. etcd answers a progress request. Since 3.5.18 it does not while a watch of the stream
 * starts at a future revision, as a watch after a read does. Then the client creates and cancels a watch without
 * events, because etcd always answers a creation. A proxy answers creations by itself and ignores progress requests, so
 * the client probes it with a linearizable read over the same connection.
 *
 * @module
 */
import { Effect, Latch, Stream } from "effect"
import { Inbox } from "../../internal/Inbox.ts"
import { lasting } from "../../internal/lasting.ts"
import { invalidArgument } from "../invalidArgument.ts"
import { toBytes } from "../KeyRange.ts"
import type { ResponseHeader } from "../messages/ResponseHeader.ts"
import type { WatchEvent, WatchRequest, WatchResponse } from "../messages/watch.ts"
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
import { type Failure, isTransport, reasonOfText, toError } from "./failures.ts"
import {
  encodeSilentWatch,
  encodeWatch,
  encodeWatchCancel,
  encodeWatchCreate,
  encodeWatchProgress,
  type WatchMessage
} from "./messages/watch.ts"
import * as methods from "./methods.ts"
import { positiveMillis } from "./settings.ts"
import { type Line, type Session, sharedStream } from "./SharedStream.ts"
import { isStall, pendingInput } from "./stall.ts"
import { type EventCheck, eventCheck } from "./watchRange.ts"

/** `watch_id` of the answer to a progress request, and of a refused creation. */
const noWatch = -1

/** The maximum number of responses that may wait for a reader. */
const maxLag = 1024

interface WatchOptions {
  readonly request: WatchRequest
  /** The encoded request without the watch id. */
  readonly message: Uint8Array
  readonly responses: Inbox<WatchResponse, EtcdError>
  readonly progressEveryMillis: number
  readonly progressTimeoutMillis: number
}

interface Watch extends Omit<WatchOptions, "message"> {
  readonly check: EventCheck
  /** The server's id, once the creation was answered. */
  id: number | undefined
  isRemoved: boolean
  /** The revision of the newest event. */
  delivered: bigint
  /** The events so far of a revision that is still incomplete, and their size. */
  fragments: Array<WatchEvent>
  fragmentBytes: number
}

/** A creation without an answer. Without a watch it is a probe. */
interface Creation {
  readonly requestedId: number
  readonly message: Uint8Array
  readonly watch: Watch | undefined
}

class WatchSession implements Session<WatchMessage> {
  readonly #client: Client
  readonly #line: Line
  /** By the server's id. */
  readonly #created = new Map<number, Watch>()
  /** The server's ids of watches whose cancellation it has not confirmed: events may still be on their way. */
  readonly #leaving = new Set<number>()
  /** The creations in flight. */
  readonly #creations: Array<Creation> = []
  /** The creations that were not sent yet. */
  readonly #waiting: Array<Creation> = []
  /** Whether the server uses the ids that creations carry. */
  #keepsIds = false
  readonly #wake = Latch.makeUnsafe(false)
  /** When the guard looks next, unless it is woken; `-Infinity` while it looks. */
  #looksAt = -Infinity
  /** The shortest times of the watches, including those that were removed since the guard has looked. */
  #progressEveryMillis = Infinity
  #progressTimeoutMillis = Infinity
  #nextId = 1
  #revision = 0n
  #identity: Client["identity"]
  #heardAt: number
  #probedAt: number | undefined
  /** Whether the time limit of the pending probe was restarted, because this process was held up. */
  #isPostponed = false
  /** Whether the pending probe is a progress request. */
  #isProgressRequested = false
  /** The creation that was sent because a progress request was not answered for a while. */
  #doubt: Creation | undefined
  /** Whether the server ignores progress requests. */
  #isProxy = false
  #failure: Failure | undefined

  constructor(client: Client, line: Line) {
    this.#client = client
    this.#line = line
    this.#heardAt = client.now()
  }

  add({ message, ...options }: WatchOptions): Watch {
    const watch = {
      ...options,
      check: eventCheck(options.request),
      id: undefined,
      isRemoved: false,
      delivered: 0n,
      fragments: [],
      fragmentBytes: 0
    }
    this.#shorten(watch)
    if (this.#failure === undefined) this.#create(message, watch)
    else this.#fail(watch, this.#failure)
    return watch
  }

  /** Ends a watch whose reader has stopped. */
  remove(watch: Watch): void {
    watch.isRemoved = true
    if (watch.id !== undefined && this.#created.delete(watch.id)) this.#cancel(watch.id)
  }

  readonly receive = (message: WatchMessage): void => {
    this.#heard()
    const header = this.#completed(message)
    const { clusterId } = header
    if (this.#identity === undefined) {
      if (clusterId !== 0n) this.#identity = header
    } else if (clusterId !== this.#identity.clusterId) {
      return this.#line.violated("the server belongs to another cluster than before")
    }
    if (header.revision > this.#revision) this.#revision = header.revision
    if (message.created) {
      this.#onCreated(header, message)
      return this.#sendCreations()
    }
    const watch = this.#created.get(message.watchId)
    if (watch === undefined) return this.#onUnknown(message)
    if (message.canceled) {
      return this.#client.isStaleToken(message.cancelReason) ? this.#endStale(message) : this.#refuse(watch, message)
    }
    if (message.fragment) return this.#addFragment(watch, message.events)
    this.#deliver(watch, header, message.events)
  }

  /** A message about none of the watches. */
  #onUnknown({ canceled, events, watchId }: WatchMessage): void {
    if (watchId === noWatch) this.#doubt = undefined
    if (canceled) this.#leaving.delete(watchId)
    else if (events.length > 0 && !this.#leaving.has(watchId)) {
      this.#line.violated("the server sent events of a watch that it has not created")
    }
  }

  ended(failure: Failure): void {
    this.#failure = failure
    for (const watch of this.#watches) this.#fail(watch, failure)
    this.#created.clear()
    this.#creations.length = 0
    this.#waiting.length = 0
  }

  get #watches(): ReadonlyArray<Watch> {
    const creating = [...this.#creations, ...this.#waiting].flatMap(({ watch }) => watch === undefined ? [] : [watch])
    return [...this.#created.values(), ...creating].filter(({ isRemoved }) => !isRemoved)
  }

  /** Probes a server that was silent for a while, and ends the stream if no answer arrives. */
  readonly guard: Effect.Effect<never> = lasting(Effect.suspend(() => {
    this.#wake.closeUnsafe()
    this.#looksAt = -Infinity
    this.#progressEveryMillis = Infinity
    this.#progressTimeoutMillis = Infinity
    const watches = this.#watches
    for (const watch of watches) this.#shorten(watch)
    const timeout = this.#progressTimeoutMillis
    const now = this.#client.now()
    const dueAt = this.#dueAt
    if (dueAt > now) return this.#waitUntil(dueAt)
    if (this.#probedAt === undefined) {
      return this.#isProxy ? this.#read(timeout) : Effect.sync(() => this.#probe(watches))
    }
    const late = now - this.#probedAt - timeout
    if (isStall(late) && !this.#isPostponed) {
      this.#isPostponed = true
      this.#probedAt = now
      return Effect.void
    }
    const [watch] = watches
    if (!this.#isProgressRequested || watch === undefined || late >= 0) {
      return Effect.flatMap(pendingInput, () => this.#giveUp(timeout))
    }
    return Effect.sync(() => {
      this.#isProgressRequested = false
      this.#doubt = this.#create(encodeSilentWatch(watch.request), undefined)
    })
  }))

  /** When the guard has something to do: a probe is due, its answer is late, or the wait for it is half over. */
  get #dueAt(): number {
    if (this.#probedAt === undefined) return this.#heardAt + this.#progressEveryMillis
    return this.#probedAt + this.#progressTimeoutMillis / (this.#isProgressRequested ? 2 : 1)
  }

  /** Shortens the times to those of a watch. */
  #shorten({ progressEveryMillis, progressTimeoutMillis }: Watch): void {
    this.#progressEveryMillis = Math.min(this.#progressEveryMillis, progressEveryMillis)
    this.#progressTimeoutMillis = Math.min(this.#progressTimeoutMillis, progressTimeoutMillis)
  }

  #giveUp(timeout: number): Effect.Effect<void> {
    // An answer may have arrived, and another creation may have been sent since.
    if (this.#probedAt === undefined || this.#dueAt > this.#client.now()) return Effect.void
    this.#line.abandon(new DeadlineExceeded({ detail: `no answer on the watch stream within ${timeout} ms` }))
    return Effect.never
  }

  #waitUntil(at: number): Effect.Effect<void> {
    this.#looksAt = at
    const sleep = at === Infinity ? Effect.never : Effect.sleep(Math.ceil(at - this.#client.now()))
    return Effect.raceFirst(sleep, Latch.await(this.#wake))
  }

  /** Wakes the guard if it would look too late. Each look reads all watches: n creations must not cause n looks. */
  #reschedule(): void {
    if (this.#dueAt < this.#looksAt) this.#wake.openUnsafe()
  }

  #probe(watches: ReadonlyArray<Watch>): void {
    this.#probedAt = this.#client.now()
    const future = watches.find(({ request: { startRevision = 0n } }) => startRevision > this.#revision)
    this.#isProgressRequested = future === undefined
    if (future === undefined) this.#line.send(encodeWatchProgress())
    else this.#create(encodeSilentWatch(future.request), undefined)
  }

  #read(timeoutMillis: number): Effect.Effect<void> {
    return Effect.match(this.#client.read(this.#line.access, timeoutMillis), {
      onSuccess: () => this.#heard(),
      onFailure: ({ reason }) => isTransport(reason) ? this.#line.abandon(reason) : this.#heard()
    })
  }

  #heard(): void {
    this.#heardAt = this.#client.now()
    this.#isProgressRequested = false
    this.#isPostponed = false
    if (this.#probedAt === undefined) return
    this.#probedAt = undefined
    this.#reschedule()
  }

  #create(message: Uint8Array, watch: Watch | undefined): Creation {
    const requestedId = this.#nextId++
    const creation = { requestedId, message, watch }
    this.#waiting.push(creation)
    this.#sendCreations()
    return creation
  }

  #sendCreations(): void {
    while (this.#keepsIds || this.#creations.length === 0) {
      const creation = this.#waiting.shift()
      if (creation === undefined) break
      const { message, requestedId, watch } = creation
      if (watch?.isRemoved) continue
      this.#creations.push(creation)
      this.#line.send(encodeWatchCreate(message, requestedId))
      this.#probedAt ??= this.#client.now()
    }
    this.#reschedule()
  }

  #cancel(id: number): void {
    this.#leaving.add(id)
    this.#line.send(encodeWatchCancel(id))
  }

  /** A proxy that answers a creation by itself omits the cluster id, and its revision is one too high. */
  #completed({ created, header }: WatchMessage): ResponseHeader {
    const identity = this.#identity ?? this.#client.identity
    if (header.clusterId !== 0n || identity === undefined) return header
    return { ...header, ...identity, revision: created ? header.revision - 1n : header.revision }
  }

  #onCreated(header: ResponseHeader, message: WatchMessage): void {
    const [creation] = this.#creations
    const { watchId } = message
    if (creation === undefined) return this.#line.violated("the server answered a creation that was never sent")
    if (this.#created.has(watchId)) return this.#line.violated(`the server gave the id ${watchId} to two watches`)
    const { requestedId, watch } = creation
    if (message.canceled) {
      // The token belongs to the stream, so all its watches must be created again.
      if (this.#client.isStaleToken(message.cancelReason)) return this.#endStale(message)
      this.#creations.shift()
      return watch === undefined || watch.isRemoved ? undefined : this.#refuse(watch, message)
    }
    if (watchId === requestedId) this.#keepsIds = true
    else if (this.#keepsIds) return this.#line.violated(`the server gave the id ${watchId} to watch ${requestedId}`)
    if (creation === this.#doubt || !this.#keepsIds) this.#markProxy()
    const { startRevision = 0n } = watch?.request ?? {}
    // Calls to another member have returned newer revisions. A member that is shutting down serves its old streams for
    // some time without receiving anything new.
    if (header.revision + 1n < startRevision && !this.#client.connections.uses(this.#line.endpoint)) {
      const reason = new Unavailable({ detail: "the member of the watch stream is behind the one in use" })
      return this.#line.end({ reason, endpoint: this.#line.endpoint })
    }
    this.#creations.shift()
    if (watch === undefined || watch.isRemoved) return this.#cancel(watchId)
    watch.id = watchId
    this.#created.set(watchId, watch)
    this.#offer(watch, { _tag: "Created", header })
  }

  #markProxy(): void {
    if (this.#isProxy) return
    this.#isProxy = true
    this.#client.warnOfProxy(this.#line.endpoint)
  }

  #addFragment(watch: Watch, events: ReadonlyArray<WatchEvent>): void {
    for (const event of events) {
      watch.fragments.push(event)
      watch.fragmentBytes += event.kv.key.length + event.kv.value.length + (event.prevKv?.value.length ?? 0)
    }
    const { maxReceiveBytes } = this.#client.settings
    if (watch.fragmentBytes > maxReceiveBytes) {
      this.#line.violated(`one revision has more than ${maxReceiveBytes} bytes`)
    }
  }

  #deliver(watch: Watch, header: ResponseHeader, last: ReadonlyArray<WatchEvent>): void {
    const events = watch.fragments.length === 0 ? last : watch.fragments.concat(last)
    const newest = events.at(-1)
    if (newest === undefined) return this.#offer(watch, { _tag: "Progress", header })
    const violation = watch.check(events, watch.delivered)
    if (violation !== undefined) return this.#line.violated(violation)
    watch.fragments = []
    watch.fragmentBytes = 0
    watch.delivered = newest.kv.modRevision
    this.#offer(watch, { _tag: "Events", header, events })
  }

  #offer(watch: Watch, response: WatchResponse): void {
    if (watch.responses.offer(response) || response._tag === "Progress") return
    this.remove(watch)
    const reason = new Cancelled({ detail: `the reader fell ${maxLag} responses behind` })
    this.#fail(watch, { reason, endpoint: this.#line.endpoint })
  }

  /** Handles a watch that the server refuses or ends. */
  #refuse(watch: Watch, message: WatchMessage): void {
    const failure = { reason: refusalOf(message), endpoint: this.#line.endpoint }
    if (watch.id !== undefined) {
      this.#created.delete(watch.id)
      // After a compaction, etcd keeps the state of the watch until the watch is cancelled.
      if (failure.reason._tag === "Compacted") this.#cancel(watch.id)
    }
    this.#fail(watch, failure)
  }

  #endStale({ cancelReason: detail }: WatchMessage): void {
    this.#line.end({ reason: new Unauthenticated({ detail }), endpoint: this.#line.endpoint })
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

/** A key as text, for errors. */
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
      const progressEveryMillis = positiveMillis(request.progressEvery ?? "10 seconds")
      const progressTimeoutMillis = positiveMillis(request.progressTimeout ?? "5 seconds")
      const fail = (detail: string) => Effect.fail(invalidArgument("watch", detail, keyText(request)))
      if (progressEveryMillis === undefined) return yield* fail("progressEvery must be positive and finite")
      if (progressTimeoutMillis === undefined) return yield* fail("progressTimeout must be positive and finite")
      const named = Effect.mapError((failure: Failure) => toError(failure, "watch", keyText(request)))
      const message = yield* named(sendable(() => encodeWatch(request)))
      const responses = new Inbox<WatchResponse, EtcdError>(maxLag)
      const watches = yield* named(withSession(Effect.succeed))
      yield* Effect.acquireRelease(
        Effect.sync(() => watches.add({ request, message, responses, progressEveryMillis, progressTimeoutMillis })),
        (watch) => Effect.sync(() => watches.remove(watch))
      )
      return Stream.fromPull(Effect.succeed(responses.takeAll))
    }))
}
