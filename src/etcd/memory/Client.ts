/**
 * A client of the engine: operations as Effects, watches as Streams; both end with the client.
 *
 * @module
 */
import { Array, Effect, type Pull, Result, type Scope, Stream } from "effect"
import { unchainedCallback } from "../../internal/unchained.ts"
import type { MemberCalls } from "../Administration.ts"
import type { Etcd } from "../Etcd.ts"
import { Cancelled, EtcdError, Unimplemented } from "../EtcdError.ts"
import { type KeyRange, toBytes } from "../KeyRange.ts"
import type { LeaseId } from "../messages/lease.ts"
import type { WatchRequest, WatchResponse } from "../messages/watch.ts"
import { type Answer, memberUrl, type Server } from "./Server.ts"
import type { Timekeeper } from "./Timekeeper.ts"
import type { Watch } from "./Watchers.ts"

/** Opens a client for the lifetime of the scope. */
export const openClient = (timekeeper: Timekeeper): Effect.Effect<Etcd, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Client(timekeeper)),
      (client) => Effect.sync(() => client.close(clientClosed))
    ),
    (client) => client.etcd
  )

const engineClosed = "engine is closed"
const clientClosed = "client is closed"

/** A client with its watches and the reason why it is closed. */
class Client {
  readonly etcd: Etcd
  readonly #timekeeper: Timekeeper
  readonly #watches: Set<Watch> = new Set()
  #closed: string | undefined

  constructor(timekeeper: Timekeeper) {
    this.#timekeeper = timekeeper
    timekeeper.onClose.add(this.#engineCloses)
    if (timekeeper.isClosed) this.close(engineClosed)
    this.etcd = {
      range: (request) => this.#call("range", keyText(request), (server) => server.range(request)),
      put: (request) => this.#call("put", keyText(request), (server) => server.put(request)),
      deleteRange: (request) => this.#call("deleteRange", keyText(request), (server) => server.deleteRange(request)),
      txn: (request) => this.#call("txn", undefined, (server) => server.txn(request)),
      leaseGrant: (request) => this.#call("leaseGrant", idText(request), (server) => server.leaseGrant(request)),
      leaseRevoke: (id) => this.#call("leaseRevoke", idText({ id }), (server) => server.leaseRevoke(id)),
      leaseTimeToLive: (request) =>
        this.#call("leaseTimeToLive", idText(request), (server) => server.leaseTimeToLive(request)),
      leaseLeases: this.#call("leaseLeases", undefined, (server) => server.leaseLeases()),
      leaseKeepAlive: (request) =>
        this.#call("leaseKeepAlive", idText(request), (server) => server.leaseKeepAlive(request)),
      watch: (request) => this.#watch(request),
      compact: (request) => this.#call("compact", undefined, (server) => server.compact(request)),
      status: this.#call("status", undefined, (server) => server.status()),
      // The engine is in this process, so it always answers.
      recovered: Effect.never,
      administration: {
        ...this.#calls,
        at: (endpoint) =>
          endpoint === memberUrl ?
            Result.succeed(this.#calls) :
            Result.fail({ value: endpoint, rule: `it must be ${memberUrl}` })
      }
    }
  }

  close(detail: string): void {
    if (this.#closed !== undefined) return
    this.#closed = detail
    this.#timekeeper.onClose.delete(this.#engineCloses)
    for (const watch of this.#watches) {
      watch.wake?.()
      watch.close()
    }
  }

  readonly #engineCloses = (): void => this.close(engineClosed)

  #call<A>(
    method: string,
    key: (() => string) | undefined,
    body: (server: Server) => Answer<A>
  ): Effect.Effect<A, EtcdError> {
    return Effect.suspend(() => {
      const answer: Answer<A> = this.#closed === undefined ?
        this.#timekeeper.step(body) :
        Result.fail(new Cancelled({ detail: this.#closed }))
      if (Result.isSuccess(answer)) return Effect.succeed(answer.success)
      const error = { reason: answer.failure, method }
      return Effect.fail(new EtcdError(key === undefined ? error : { ...error, key: key() }))
    })
  }

  /** The calls of a single member; the engine has no other RPC. */
  get #calls(): MemberCalls {
    const unimplemented = (method: string): EtcdError =>
      new EtcdError({ reason: new Unimplemented({ detail: "the embedded engine is not a server" }), method })
    return {
      memberList: () => this.#call("memberList", undefined, (server) => server.memberList()),
      status: this.#call("status", undefined, (server) => server.status()),
      alarms: this.#call("alarms", undefined, (server) => server.alarms()),
      unary: ({ name }) => Effect.fail(unimplemented(name)),
      serverStream: ({ name }) => Stream.fail(unimplemented(name))
    }
  }

  #watch(request: WatchRequest): Stream.Stream<WatchResponse, EtcdError> {
    const key = keyText(request)
    const open = Effect.tap(
      this.#call("watch", key, (server) => server.watch(request)),
      (watch) => Effect.sync(() => this.#watches.add(watch))
    )
    const close = (watch: Watch): Effect.Effect<void> =>
      Effect.sync(() => {
        watch.close()
        this.#watches.delete(watch)
      })
    return Stream.unwrap(Effect.map(Effect.acquireRelease(open, close), (watch) => {
      const take = this.#call("watch", key, (server) => server.takeFrom(watch))
      const pull: Pull.Pull<Array.NonEmptyReadonlyArray<WatchResponse>, EtcdError> = Effect.flatMap(
        take,
        (responses) =>
          Array.isReadonlyArrayNonEmpty(responses) ?
            Effect.succeed(responses) :
            Effect.flatMap(this.#awaitMore(watch), () => pull)
      )
      return Stream.fromPull(Effect.succeed(pull))
    }))
  }

  /**
   * Waits for a message or for the end of the client. The reader resumes in a task of its own, not inside the step that
   * woke it.
   */
  #awaitMore(watch: Watch): Effect.Effect<void> {
    return Effect.withFiber((fiber) =>
      unchainedCallback<void>((resume) => {
        if (watch.isReady || this.#closed !== undefined) return resume(Effect.void)
        watch.wake = () => {
          watch.wake = undefined
          fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
        }
      })
    )
  }
}

const decoder = new TextDecoder()

const keyText = ({ key }: KeyRange): () => string => () => decoder.decode(toBytes(key))

const idText = ({ id = 0n }: { readonly id?: LeaseId }): () => string => () => id.toString(16)
