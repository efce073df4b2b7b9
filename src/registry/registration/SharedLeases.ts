/**
 * Leases that several registrations share: one grant and one heartbeat for all with the same TTL (R13).
 *
 * @module
 */
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { Session, SessionOptions, Sessions } from "../../etcd/Session.ts"
import { addFinalizer } from "../../internal/finalizers.ts"
import { Deadline } from "../../internal/time/Deadlines.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import type { Timers } from "../../internal/time/Timers.ts"

/** A lease and its members. */
interface Shared {
  readonly scope: Scope.Closeable
  readonly opened: Deferred.Deferred<Session, EtcdError>
  /** Called when the last member has revoked the lease. */
  readonly onRevoked: Set<() => void>
  /** Grants the lease. */
  opening: Fiber.Fiber<unknown, unknown> | undefined
  members: number
  /** Members that are about to leave. */
  leaving: number
  isLost: boolean
}

/** A session that other registrations may use as well. */
export interface SharedSession extends Session {
  /** Whether another registration uses it. */
  readonly hasOthers: () => boolean
  /** Lets later registrations use another lease. */
  readonly retire: () => void
  /**
   * Announces that this member leaves. False if its key ends with the lease: the lease is lost, or all other members
   * leave at the same time and the last one revokes it.
   */
  readonly mustRemoveKey: Effect.Effect<boolean>
  /** The milliseconds that are left to leave. All steps together take `releaseTimeout` (R5). */
  readonly leftMillis: Effect.Effect<number>
}

/** The shared leases of a registry, by TTL. */
export class SharedLeases {
  readonly #sessions: Sessions
  readonly #timers: Timers
  readonly #byTtl = new Map<number, Shared>()

  constructor(sessions: Sessions, timers: Timers) {
    this.#sessions = sessions
    this.#timers = timers
  }

  /**
   * Joins the lease of this TTL until the scope closes. The first member grants it, the last one revokes it. A lost
   * lease gets no new members.
   */
  readonly join = (options: SessionOptions): Effect.Effect<SharedSession, EtcdError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) => this.#join(options, restore))

  readonly #join = Effect.fnUntraced({ self: this }, function* (
    this: SharedLeases,
    options: SessionOptions,
    restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  ): Effect.fn.Return<SharedSession, EtcdError, Scope.Scope> {
    const { seconds } = options.ttl
    let shared = this.#byTtl.get(seconds)
    const isFirst = shared === undefined
    if (shared === undefined) {
      shared = {
        scope: yield* Scope.make(),
        opened: Deferred.makeUnsafe(),
        onRevoked: new Set(),
        opening: undefined,
        members: 0,
        leaving: 0,
        isLost: false
      }
      this.#byTtl.set(seconds, shared)
    }
    const joined = shared
    const retire = () => {
      if (this.#byTtl.get(seconds) === joined) this.#byTtl.delete(seconds)
    }
    let isLeaving = false
    let endsWithLease = false
    let isLeft = false
    let leaveBy: number | undefined
    const leftMillis = Effect.map(monotonicMillis, (now) => {
      leaveBy ??= now + Duration.toMillis(options.releaseTimeout)
      return Math.max(0, leaveBy - now)
    })
    const leave = (exit: Exit.Exit<unknown, unknown>, session?: Session) =>
      Effect.flatMap(leftMillis, (left) => {
        joined.members -= 1
        if (isLeaving) joined.leaving -= 1
        if (joined.members > 0) {
          if (!endsWithLease) return Effect.void
          // The key is gone when the release returns (R5).
          return Effect.map(awaitRevoked(joined, this.#timers, left), (isRevoked) => {
            isLeft = !isRevoked
          })
        }
        retire()
        // The grant ends first: a revoke that overtakes it finds no lease, and the lease would stay (R6).
        return (joined.opening === undefined ? Effect.void : Fiber.interrupt(joined.opening)).pipe(
          Effect.andThen(session?.release(Duration.millis(left)) ?? Effect.void),
          Effect.andThen(Scope.close(joined.scope, exit)),
          Effect.ensuring(Effect.sync(() => joined.onRevoked.forEach((report) => report())))
        )
      })
    joined.members += 1
    if (isFirst) {
      // All waiting members share the grant, so it continues if the first one is interrupted.
      joined.opening = yield* this.#sessions.open(options).pipe(
        Effect.tap(({ onLost }) =>
          Effect.sync(() =>
            onLost(() => {
              joined.isLost = true
              retire()
            })
          )
        ),
        Scope.provide(joined.scope),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) retire()
            Deferred.doneUnsafe(joined.opened, exit)
          })
        ),
        Effect.forkIn(joined.scope)
      )
    }
    const session = yield* Effect.onExit(
      restore(Deferred.await(joined.opened)),
      (exit) => Exit.isSuccess(exit) ? Effect.void : leave(exit)
    )
    yield* addFinalizer((exit) => leave(exit, session))
    return {
      ...session,
      // The last member to leave ends the lease. This only limits the rest of the release.
      release: (timeout) =>
        Effect.map(monotonicMillis, (now) => {
          leaveBy = now + Duration.toMillis(timeout)
        }),
      hasOthers: () => joined.members > 1,
      retire,
      leftMillis,
      mustRemoveKey: Effect.suspend(() => {
        if (joined.isLost) return Effect.succeed(false)
        isLeaving = true
        joined.leaving += 1
        return Effect.map(Effect.yieldNow, () => {
          if (joined.leaving < joined.members) return true
          retire()
          endsWithLease = true
          return false
        })
      }),
      isLeft: () => isLeft || session.isLeft()
    }
  })
}

/** Waits until the last member has revoked the lease, for at most `millis`. Returns whether it has. */
const awaitRevoked = ({ onRevoked }: Shared, timers: Timers, millis: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const deadline = new Deadline(() => resume(Effect.succeed(false)))
    timers.set(deadline, timers.now() + millis)
    onRevoked.add(() => {
      timers.delete(deadline)
      resume(Effect.succeed(true))
    })
  })

/** A session of a lease, which may be shared. */
export type AnySession = Session & Partial<SharedSession>

/** Whether a lease is shared. */
export const isShared = (session: AnySession): session is SharedSession => session.retire !== undefined
