/**
 * A semaphore whose permits all processes share by its name, first come, first served.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { type LockLost, type LockTimeout, PermitsMismatch } from "./errors.ts"
import * as Line from "./Line.ts"
import { type AcquireOptions, type Plan, plan } from "./options.ts"

/**
 * The options of {@link make}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends AcquireOptions {
  /** The number of permits: a whole number from 1 to 1,000, the same in every process. */
  readonly permits: number
}

/**
 * Why a permit was not acquired, or was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export type AcquireError = LockLost | LockTimeout | PermitsMismatch | EtcdError

/**
 * A semaphore whose permits are shared by all processes.
 *
 * @since 0.1.0
 * @category models
 */
export interface DistributedSemaphore {
  readonly name: string
  readonly permits: number
  /** Waits for a permit and holds it until the scope closes. */
  readonly acquire: Effect.Effect<Line.Held, AcquireError, Scope.Scope>
  /** Runs an effect while it holds a permit, and interrupts it if the permit is lost. */
  readonly withPermit: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AcquireError, R>
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** Fails if the first contender in the line wrote another number of permits. */
const agreeing = ({ name }: Plan, permits: number): Line.Entry<PermitsMismatch> => ({
  value: String(permits),
  permits,
  admit: (first) => {
    const found = decoder.decode(first.subarray(0, 32))
    return found === String(permits) ? Effect.void : Effect.fail(new PermitsMismatch({ target: name, permits, found }))
  }
})

/**
 * Makes a semaphore. Nothing is sent before a permit is acquired.
 *
 * **Details**
 *
 * The keys contain the number of permits. A process whose number differs from that of the first in line fails with
 * `PermitsMismatch`. Every permit has a lease of its own, or that of `session`. A permit is awaited, released and lost
 * as a lock is (see `Lock.acquire`). Fails with `InvalidOption`.
 *
 * **Gotchas**
 *
 * Only clients of this module can read the line of a semaphore; use a name that no lock has. With `session`, one
 * process holds at most one permit of a name.
 *
 * @example
 * ```ts
 * import { DistributedSemaphore } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const uploads = yield* DistributedSemaphore.make("/semaphores/uploads", { permits: 3 })
 *   yield* uploads.withPermit(Effect.log("at most three of these at a time, in all processes"))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (name: string, options: Options): Effect.Effect<DistributedSemaphore, InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const { permits, planned } = yield* Effect.fromResult(checkOptions("DistributedSemaphore.make", (check) => ({
      permits: check.number("permits", options.permits, { min: 1, max: maxPermits, whole: true }),
      planned: plan(check, name, options)
    })))
    const etcd = yield* Etcd
    const acquire = Effect.provideService(Line.acquire(planned, agreeing(planned, permits)), Etcd, etcd)
    return {
      name,
      permits,
      acquire,
      withPermit: (effect) => Effect.scoped(Effect.flatMap(acquire, ({ lost }) => Effect.raceFirst(effect, lost)))
    }
  })

/** Bounds what a waiter costs: it reads the keys of all holders. */
const maxPermits = 1000
