/**
 * The changes that operators made in this console, and their progress: sent, stored at a revision, adopted by the
 * owner.
 *
 * The console shows a step as done only once etcd or the owner confirms it. An owner may adopt a change without writing
 * anything (R12). So a change counts as adopted once its owner has written the key again or renewed its lease while the
 * change is still in place.
 *
 * @module
 */
import { Data, Effect, Option, type Scope } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import * as Operator from "../registry/operator.ts"
import { leaseState } from "./reads.ts"
import type { Fleet } from "./Fleet.ts"
import type { Settings } from "./options.ts"

/** The progress of a change. */
export type Stage = Data.TaggedEnum<{
  Sent: Record<never, never>
  /** etcd or the console refused the change. Nothing was written. */
  Refused: { readonly why: string }
  /** The instance already had these values. */
  Unchanged: { readonly revision: bigint }
  Stored: { readonly revision: bigint }
  Adopted: { readonly revision: bigint; readonly how: string }
  /** The change is stored, but the owner reverted it, left, or does not react. */
  NotAdopted: { readonly revision: bigint; readonly why: string }
}>

/** Constructors of {@link Stage}. */
export const Stage: Data.TaggedEnum.Constructor<Stage> = Data.taggedEnum<Stage>()

/** A change that an operator requested. */
export interface Action {
  readonly service: string
  readonly instance: string
  readonly edit: Operator.Edit
  readonly sentAt: number
  readonly stage: Stage
}

/** The number of changes that are kept. */
const maxActions = 200
/** How often the console checks a stored change. */
const observeEvery = "500 millis"
/** How long an owner may take to react after the TTL of its lease. */
const graceSeconds = 5

/** Describes an edit in words. */
export const describeEdit = ({ status, weight }: Operator.Edit): string =>
  [
    ...(status === undefined ? [] : [status === "draining" ? "drain" : "undrain"]),
    ...(weight === undefined ? [] : [`weight ${weight}`])
  ]
    .join(" and ")

/** Returns whether a set contains an edit. */
const isInPlace = (set: InstanceSet | undefined, id: string, { status, weight }: Operator.Edit): boolean => {
  const found = set === undefined ? undefined : Option.getOrUndefined(set.get(id))
  if (found === undefined) return false
  const hasStatus = status === undefined || (found.status === "draining") === (status === "draining")
  return hasStatus && (weight === undefined || found.weight === weight)
}

/** The parts of the source that this module uses. */
interface Source {
  readonly etcd: Etcd
  readonly settings: Settings
  readonly now: Effect.Effect<number>
  readonly fleet: Fleet
  readonly changed: () => void
}

/** See the module's description. */
export class Actions {
  readonly #source: Source
  readonly #scope: Scope.Scope
  #actions: ReadonlyArray<Action> = []

  constructor(source: Source, scope: Scope.Scope) {
    this.#source = source
    this.#scope = scope
  }

  /** The changes of an instance, newest first. */
  of(service: string, instance: string): ReadonlyArray<Action> {
    return this.#actions.filter((action) => action.service === service && action.instance === instance)
  }

  /** Sends a change. Completes when etcd has stored or refused it; its later progress is tracked in the background. */
  send(service: string, instance: string, edit: Operator.Edit): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      let action: Action = { service, instance, edit, sentAt: yield* this.#source.now, stage: Stage.Sent() }
      this.#actions = [action, ...this.#actions].slice(0, maxActions)
      const advance = (stage: Stage): void => {
        const next = { ...action, stage }
        this.#actions = this.#actions.map((one) => one === action ? next : one)
        action = next
        this.#source.changed()
      }
      this.#source.changed()
      const { etcd, settings: { namespace } } = this.#source
      const edited = yield* Effect.result(
        Effect.provideService(Operator.edit(service, instance, edit, { namespace, settle: 0 }), Etcd, etcd)
      )
      if (edited._tag === "Failure") return advance(Stage.Refused({ why: edited.failure.message }))
      const { isChanged, leaseId, outcome, revision } = edited.success
      if (!isChanged) return advance(Stage.Unchanged({ revision }))
      advance(Stage.Stored({ revision }))
      if (outcome === "unowned") {
        return advance(Stage.Adopted({ revision, how: "the key has no lease, so no owner has to adopt it" }))
      }
      yield* Effect.forkIn(
        Effect.map(this.#observe(action, revision, leaseId), advance),
        this.#scope,
        { startImmediately: true }
      )
    })
  }

  /** Waits until the owner adopts or reverts a change. */
  #observe({ edit, instance, service }: Action, revision: bigint, leaseId: LeaseId): Effect.Effect<Stage> {
    const { etcd, fleet, now, settings } = this.#source
    const key = `${settings.prefix}${service}/${instance}`
    return Effect.gen(function* () {
      const storedAt = yield* now
      let first: { readonly ttl: number; readonly grantedTtl: number; readonly at: number } | undefined
      while (true) {
        yield* Effect.sleep(observeEvery)
        const at = yield* now
        const catalog = fleet.catalog
        if (catalog?.freshness._tag === "Live" && catalog.revision >= revision) {
          const set = fleet.setOf(service)
          if (set === undefined || !set.has(instance)) {
            return Stage.NotAdopted({ revision, why: "the instance left" })
          }
          if (!isInPlace(set, instance, edit)) {
            return Stage.NotAdopted({ revision, why: "its owner wrote its own value back" })
          }
        }
        const owner: { readonly ttl: number; readonly grantedTtl: number; readonly modRevision: bigint } | undefined =
          yield* Effect.orElseSucceed(readOwnerState(etcd, key, leaseId), () => undefined)
        // While etcd does not answer, the state of the owner is unknown.
        if (owner === undefined) continue
        if (owner.modRevision > revision) {
          return Stage.Adopted({ revision, how: "its owner wrote the key again and kept the change" })
        }
        // Measure time from after the first response to before this one: the lease has lost at least that much.
        first ??= { ...owner, at: yield* now }
        // With `ttl` whole seconds left, a lease has less than `ttl + 1` seconds, and loses one each second.
        if (owner.ttl >= first.ttl + 1 - Math.floor((at - first.at) / 1000) && at - first.at >= 1000) {
          return Stage.Adopted({ revision, how: "its owner renewed its lease and kept the change" })
        }
        if (at - storedAt > (owner.grantedTtl + graceSeconds) * 1000) {
          return Stage.NotAdopted({ revision, why: "its owner has not renewed its lease since" })
        }
      }
    })
  }
}

/** Reads a key's revision and its lease. */
const readOwnerState = (etcd: Etcd, key: string, leaseId: LeaseId): Effect.Effect<
  { readonly ttl: number; readonly grantedTtl: number; readonly modRevision: bigint },
  EtcdError
> =>
  Effect.map(
    Effect.all([leaseState(etcd, leaseId), etcd.range({ key })], { concurrency: 2 }),
    ([{ grantedTtl, ttl }, { kvs: [kv] }]) => ({ ttl, grantedTtl, modRevision: kv?.modRevision ?? 0n })
  )
