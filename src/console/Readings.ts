/**
 * Data that pages read besides the catalog: leases, keys, members. All open pages share the result of each read.
 *
 * A reading is refreshed while a page shows it. A page waits for etcd for the first reading only; after that it shows
 * the last one with its age.
 *
 * @module
 */
import { Deferred, Effect, type Scope } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { Knowledge } from "./Knowledge.ts"

/** The result of a read, and its revision. */
export interface Read<A> {
  readonly revision: bigint
  readonly value: A
}

/** The last result of a read. */
export interface Reading<A> {
  readonly knowledge: Knowledge
  readonly value: A | undefined
}

interface Slot<A> {
  readonly first: Deferred.Deferred<void>
  read: Read<A> | undefined
  confirmedAt: number
  failure: string | undefined
  startedAt: number
  isRunning: boolean
}

/** The age at which a reading is read again. */
export const refreshMillis = 2000

/** The maximum number of readings. The least recently used one is dropped first. */
const maxSlots = 200

/** See the module's description. `changed` is called after each read. */
export class Readings {
  readonly #scope: Scope.Scope
  readonly #now: Effect.Effect<number>
  readonly #changed: () => void
  readonly #slots = new Map<string, Slot<unknown>>()

  constructor(scope: Scope.Scope, now: Effect.Effect<number>, changed: () => void) {
    this.#scope = scope
    this.#now = now
    this.#changed = changed
  }

  /**
   * Reads for the first time. Later calls return the last result and refresh it in the background. `key` identifies the
   * read.
   */
  get<A>(key: string, read: Effect.Effect<Read<A>, EtcdError>): Effect.Effect<Reading<A>> {
    return Effect.gen({ self: this }, function* () {
      const slot = this.#slot<A>(key)
      const now = yield* this.#now
      if (!slot.isRunning && now - slot.startedAt >= refreshMillis) {
        slot.isRunning = true
        slot.startedAt = now
        yield* Effect.forkIn(this.#run(slot, read, now), this.#scope, { startImmediately: true })
      }
      yield* Deferred.await(slot.first)
      const { confirmedAt, failure } = slot
      return slot.read === undefined ? { knowledge: Knowledge.Unknown({ failure }), value: undefined } : {
        knowledge: Knowledge.Known({ revision: slot.read.revision, confirmedAt, failure }),
        value: slot.read.value
      }
    })
  }

  #slot<A>(key: string): Slot<A> {
    const slot = (this.#slots.get(key) ?? {
      first: Deferred.makeUnsafe<void>(),
      read: undefined,
      confirmedAt: 0,
      failure: undefined,
      startedAt: -Infinity,
      isRunning: false
    }) as Slot<A>
    this.#slots.delete(key)
    this.#slots.set(key, slot as Slot<unknown>)
    for (const oldest of this.#slots.keys()) {
      if (this.#slots.size <= maxSlots) break
      this.#slots.delete(oldest)
    }
    return slot
  }

  #run<A>(slot: Slot<A>, read: Effect.Effect<Read<A>, EtcdError>, startedAt: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const result = yield* Effect.result(read)
      if (result._tag === "Success") {
        slot.read = result.success
        // The result is at least as new as the start of the read.
        slot.confirmedAt = startedAt
        slot.failure = undefined
      } else slot.failure = result.failure.message
    }).pipe(
      Effect.ensuring(Effect.suspend(() => {
        slot.isRunning = false
        this.#changed()
        return Deferred.succeed(slot.first, undefined)
      }))
    )
  }
}
