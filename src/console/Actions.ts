/**
 * What operators did from this console, and what became of it: sent, stored at a revision, adopted by the owner.
 *
 * Nothing is shown as done before etcd or the owner shows it. An owner that adopts a change need not write anything
 * (R12). So a change counts as adopted when its owner has written the key again, or renewed its lease, and the change is
 * still in place.
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

/** How far a change has come. */
export type Stage = Data.TaggedEnum<{
  Sent: Record<never, never>
  /** etcd did not take it, or it made no sense. Nothing was written. */
  Refused: { readonly why: string }
  /** There was nothing to change. */
  Unchanged: { readonly revision: bigint }
  Stored: { readonly revision: bigint }
  Adopted: { readonly revision: bigint; readonly how: string }
  /** It is stored, and its owner undid it, left, or does nothing. */
  NotAdopted: { readonly revision: bigint; readonly why: string }
}>

/** Constructors of {@link Stage}. */
export const Stage: Data.TaggedEnum.Constructor<Stage> = Data.taggedEnum<Stage>()

/** A change that an operator asked for. */
export interface Action {
  readonly service: string
  readonly instance: string
  readonly edit: Operator.Edit
  readonly sentAt: number
  readonly stage: Stage
}

/** How many changes are remembered. */
const maxActions = 200
/** How often a change that is stored is looked at. */
const lookEvery = "500 millis"
/** How long after the time to live of its lease an owner may still react. */
const graceSeconds = 5

/** An edit in words. */
export const describeEdit = ({ status, weight }: Operator.Edit): string =>
  [
    ...(status === undefined ? [] : [status === "draining" ? "drain" : "undrain"]),
    ...(weight === undefined ? [] : [`weight ${weight}`])
  ]
    .join(" and ")

/** Whether a set shows an edit as being in place. */
const isInPlace = (set: InstanceSet | undefined, id: string, { status, weight }: Operator.Edit): boolean => {
  const found = set === undefined ? undefined : Option.getOrUndefined(set.get(id))
  if (found === undefined) return false
  const hasStatus = status === undefined || (found.status === "draining") === (status === "draining")
  return hasStatus && (weight === undefined || found.weight === weight)
}

/** What this needs of the source of the pages. */
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

  /** What was done to an instance, newest first. */
  of(service: string, instance: string): ReadonlyArray<Action> {
    return this.#actions.filter((action) => action.service === service && action.instance === instance)
  }

  /** Sends a change. Completes when etcd has stored or refused it; what follows goes on by itself. */
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

  /** Waits until the owner shows what it makes of a change. */
  #observe({ edit, instance, service }: Action, revision: bigint, leaseId: LeaseId): Effect.Effect<Stage> {
    const { etcd, fleet, now, settings } = this.#source
    const key = `${settings.prefix}${service}/${instance}`
    return Effect.gen(function* () {
      const storedAt = yield* now
      let first: { readonly ttl: number; readonly grantedTtl: number; readonly at: number } | undefined
      while (true) {
        yield* Effect.sleep(lookEvery)
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
        const looked: { readonly ttl: number; readonly grantedTtl: number; readonly modRevision: bigint } | undefined =
          yield* Effect.orElseSucceed(look(etcd, key, leaseId), () => undefined)
        // While etcd does not answer, nothing is known of the owner either.
        if (looked === undefined) continue
        if (looked.modRevision > revision) {
          return Stage.Adopted({ revision, how: "its owner wrote the key again and kept the change" })
        }
        // The time after the first answer and before the others: the lease has lost at least what lies in between.
        first ??= { ...looked, at: yield* now }
        // A lease of which `ttl` whole seconds were left has less than `ttl + 1` left; each second that passes takes one.
        if (looked.ttl >= first.ttl + 1 - Math.floor((at - first.at) / 1000) && at - first.at >= 1000) {
          return Stage.Adopted({ revision, how: "its owner renewed its lease and kept the change" })
        }
        if (at - storedAt > (looked.grantedTtl + graceSeconds) * 1000) {
          return Stage.NotAdopted({ revision, why: "its owner has not renewed its lease since" })
        }
      }
    })
  }
}

/** What etcd holds of a key and its lease. */
const look = (etcd: Etcd, key: string, leaseId: LeaseId): Effect.Effect<
  { readonly ttl: number; readonly grantedTtl: number; readonly modRevision: bigint },
  EtcdError
> =>
  Effect.map(
    Effect.all([leaseState(etcd, leaseId), etcd.range({ key })], { concurrency: 2 }),
    ([{ grantedTtl, ttl }, { kvs: [kv] }]) => ({ ttl, grantedTtl, modRevision: kv?.modRevision ?? 0n })
  )
