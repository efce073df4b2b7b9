/**
 * An operator's changes in etcd: the status and the weight of a running instance (R12), and keys without an owner.
 *
 * An edit is one Txn that keeps the lease of the key. It changes only the two members in the text of the value, so that
 * metadata of any type survives.
 *
 * @module
 */
import { Duration, Effect, Option, Result, Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { EtcdError, Unavailable } from "../etcd/EtcdError.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { type Check, checkOptions, InvalidOption } from "../internal/options.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import { setMember } from "../internal/text/setMember.ts"
import * as Codec from "./model/Codec.ts"
import { type InstanceStatus, maxWeight } from "./model/Instance.ts"
import * as Keyspace from "./model/Keyspace.ts"
import { layoutOf } from "./model/Layout.ts"
import * as Service from "./model/Service.ts"

/** What to change. At least one member. */
export interface Edit {
  /** `"draining"` takes the instance out of traffic, `"up"` ends that. */
  readonly status?: "draining" | "up"
  /** The share of the traffic, 0 to 1,000,000. */
  readonly weight?: number
}

/** Options of {@link edit} and {@link deregister}. */
export interface Options {
  /** The start of all keys, as in the options of the registry. Default: `/services`. */
  readonly namespace?: string
  /** How long {@link edit} watches the owner's reaction. Default: 1 second. */
  readonly settle?: Duration.Input
}

/** The members that an edit can change. */
export interface Members {
  readonly status: InstanceStatus
  readonly weight: number
}

/**
 * The outcome of an edit: `"kept"` if it was still in effect after `settle`, `"reverted"` if the owner wrote the old
 * value back, `"removed"` if the key was deleted meanwhile, and `"unowned"` if the key has no lease, and thus no owner.
 */
export type Outcome = "kept" | "reverted" | "removed" | "unowned"

/** An edit that is in etcd. */
export interface Edited {
  readonly key: string
  readonly leaseId: LeaseId
  /** The revision of the edit; that of the last write if there was nothing to change. */
  readonly revision: bigint
  /** Whether anything was written. */
  readonly isChanged: boolean
  readonly before: Members
  readonly after: Members
  readonly outcome: Outcome
}

const InstanceNotFoundBase: TaggedErrorClass<"InstanceNotFound", { readonly key: string }> = TaggedErrorClass(
  "InstanceNotFound"
)

/** There is no key of this instance. */
export class InstanceNotFound extends InstanceNotFoundBase {
  override get message(): string {
    return `there is no instance at ${JSON.stringify(this.key)}. Check the service, the id and the namespace.`
  }
}

const InstanceNotEditableBase: TaggedErrorClass<"InstanceNotEditable", {
  readonly key: string
  readonly detail: string
}> = TaggedErrorClass("InstanceNotEditable")

/** The value under the key is not an instance in the format of the service. */
export class InstanceNotEditable extends InstanceNotEditableBase {
  override get message(): string {
    return `cannot edit ${JSON.stringify(this.key)}: ${this.detail}. Check that the format is that of the service.`
  }
}

const InstanceHasOwnerBase: TaggedErrorClass<"InstanceHasOwner", {
  readonly key: string
  readonly leaseId: LeaseId
}> = TaggedErrorClass("InstanceHasOwner")

/** The key has a lease, so a running process would register it again. */
export class InstanceHasOwner extends InstanceHasOwnerBase {
  override get message(): string {
    return `cannot delete ${JSON.stringify(this.key)}: a process keeps it under lease ${
      this.leaseId.toString(16)
    } and ` +
      "would register it again. Stop that process, or drain the instance."
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/** The key of an instance, checked. */
const keyOf = <M>(check: Check, service: Service.Service<M>, id: string, { namespace }: Options): string => {
  const given = namespace ?? Keyspace.defaultNamespace
  const keyspace = check.valid("namespace", given, Keyspace.make(given))
  const layout = layoutOf(service, keyspace)
  const name = check.valid("service", service.name, layout.checkName(service.name))
  return layout.key(name, check.valid("id", id, layout.checkId(id)))
}

const read = Effect.fnUntraced(function* (
  etcd: Etcd,
  key: string
): Effect.fn.Return<KeyValue, EtcdError | InstanceNotFound> {
  const { kvs: [kv] } = yield* etcd.range({ key })
  return kv ?? (yield* new InstanceNotFound({ key }))
})

/** How many Txns an edit sends in a row if the key keeps changing. */
const maxAttempts = 4

const keepsChanging = (key: string): EtcdError =>
  new EtcdError({
    reason: new Unavailable({ detail: `the key changed during each of ${maxAttempts} attempts to change it` }),
    method: "txn",
    key
  })

/**
 * Changes the status or the weight of an instance.
 *
 * **Details**
 *
 * Completes after `settle`, or as soon as the owner has reverted the edit. Fails with `InvalidOption` before anything is
 * sent, also if the format of the service has no such member; with `InstanceNotFound`; with `InstanceNotEditable` if the
 * value is not an instance; and with an `EtcdError`. It does not retry. An edit that was interrupted may be applied.
 *
 * **Gotchas**
 *
 * `"kept"` means only that no one undid the edit: it does not tell an owner that hangs from one that adopted it.
 */
export const edit = Effect.fnUntraced(function* (
  service: Service.ServiceLike,
  id: string,
  edit: Edit,
  options: Options = {}
): Effect.fn.Return<Edited, InvalidOption | InstanceNotFound | InstanceNotEditable | EtcdError, Etcd> {
  const target = Service.fromLike(service)
  const { change, key, settle } = yield* Effect.fromResult(checkOptions("Operator.edit", (check) => ({
    key: keyOf(check, target, id, options),
    change: checkEdit(check, target.codec, edit),
    settle: check.duration("settle", options.settle ?? Duration.seconds(1), { min: Duration.zero })
  })))
  const etcd = yield* Etcd
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const kv = yield* read(etcd, key)
    const before = yield* membersIn(target, id, key, kv)
    // Only draining can be ended: an instance that is down or starting comes up when its health check succeeds.
    const isUp = change.status === "up" && before.status !== "draining"
    const after = {
      status: isUp ? before.status : change.status ?? before.status,
      weight: change.weight ?? before.weight
    }
    const same = { key, leaseId: kv.lease, before, after }
    if (before.status === after.status && before.weight === after.weight) {
      return { ...same, revision: kv.modRevision, isChanged: false, outcome: kv.lease === 0n ? "unowned" : "kept" }
    }
    const value = yield* edited(target, id, key, kv, before, after)
    const { header, succeeded } = yield* etcd.txn({
      compare: [{ target: "mod", key, result: "equal", value: kv.modRevision }],
      then: [{ _tag: "Put", request: { key, value, ignoreLease: true } }]
    })
    if (!succeeded) continue
    const outcome = kv.lease === 0n ?
      "unowned" as const :
      yield* outcomeOf(etcd, target, id, key, header.revision, change, settle)
    return { ...same, revision: header.revision, isChanged: true, outcome }
  }
  return yield* keepsChanging(key)
})

const checkEdit = (check: Check, codec: Codec.AnyCodec, { status, weight }: Edit): Edit => {
  if (status === undefined && weight === undefined) check.refuse("edit", {}, "it must have a status or a weight")
  if (status !== undefined && codec.members?.status === undefined) {
    const instead = codec.members?.weight === undefined ? "" : "; set its weight instead"
    check.refuse("status", status, `the format of this service has no status${instead}`)
  }
  if (weight !== undefined && codec.members?.weight === undefined) {
    check.refuse("weight", weight, "the format of this service has no weight")
  }
  return {
    ...(status === undefined ? {} : { status: check.oneOf("status", status, ["draining", "up"]) }),
    ...(weight === undefined ? {} : { weight: check.number("weight", weight, { min: 0, max: maxWeight }) })
  }
}

/** The instance in a value. */
const decode = <M>({ codec, name }: Service.Service<M>, id: string, value: Uint8Array) =>
  Codec.decode(codec, name, id, value)

const membersIn = <M>(
  service: Service.Service<M>,
  id: string,
  key: string,
  { value }: KeyValue
): Effect.Effect<Members, InstanceNotEditable> =>
  Result.match(decode(service, id, value), {
    onSuccess: ({ status, weight }) => Effect.succeed({ status, weight }),
    onFailure: ({ detail }) => Effect.fail(new InstanceNotEditable({ key, detail }))
  })

/** The text with the new members, checked by reading it. */
const edited = Effect.fnUntraced(function* <M>(
  service: Service.Service<M>,
  id: string,
  key: string,
  { value }: KeyValue,
  before: Members,
  after: Members
): Effect.fn.Return<string, InvalidOption | InstanceNotEditable> {
  const { status, weight } = service.codec.members ?? {}
  const text = yield* Effect.try({
    try: () => {
      let text = decoder.decode(value)
      if (status !== undefined && after.status !== before.status) text = setMember(text, status, after.status)
      if (weight !== undefined && after.weight !== before.weight) {
        text = setMember(text, weight.path, weight.toJson(after.weight))
      }
      return text
    },
    catch: (cause) =>
      new InstanceNotEditable({ key, detail: cause instanceof Error ? cause.message : "the value is not JSON" })
  })
  const found = decode(service, id, new TextEncoder().encode(text))
  if (Result.isFailure(found)) return yield* new InstanceNotEditable({ key, detail: found.failure.detail })
  if (found.success.weight !== after.weight) {
    return yield* new InvalidOption({
      of: "Operator.edit",
      option: "weight",
      value: after.weight,
      rule: `the format of this service reads it as ${found.success.weight}; choose a weight that the format can hold`
    })
  }
  return text
})

/** Watches the owner's reaction to an edit. */
const outcomeOf = <M>(
  etcd: Etcd,
  service: Service.Service<M>,
  id: string,
  key: string,
  revision: bigint,
  { status, weight }: Edit,
  settle: Duration.Duration
): Effect.Effect<Outcome, EtcdError> => {
  const isReverted = (value: Uint8Array): boolean => {
    const found = decode(service, id, value)
    if (Result.isFailure(found)) return true
    // After "up" the owner publishes the status of its health check.
    const hasStatus = status === undefined || (found.success.status === "draining") === (status === "draining")
    return !hasStatus || (weight !== undefined && found.success.weight !== weight)
  }
  return etcd.watch({ key, startRevision: revision + 1n }).pipe(
    Stream.flatMap((response) => Stream.fromIterable(response._tag === "Events" ? response.events : [])),
    Stream.map(({ kv, type }): Outcome => type === "delete" ? "removed" : isReverted(kv.value) ? "reverted" : "kept"),
    Stream.filter((outcome) => outcome !== "kept"),
    Stream.runHead,
    Effect.timeoutOption(settle),
    Effect.map((found) => Option.getOrElse(Option.flatten(found), () => "kept" as const))
  )
}

/**
 * Deletes the key of an instance that has no lease, such as one that an operator wrote, and returns the revision.
 *
 * **Details**
 *
 * Fails with `InstanceHasOwner` if the key has a lease: its owner would register it again. Fails with `InvalidOption`
 * before anything is sent, with `InstanceNotFound` and with an `EtcdError`. One Txn decides, so a registration that starts
 * meanwhile is never deleted.
 */
export const deregister = Effect.fnUntraced(function* (
  service: Service.ServiceLike,
  id: string,
  options: Options = {}
): Effect.fn.Return<
  { readonly key: string; readonly revision: bigint },
  InvalidOption | InstanceNotFound | InstanceHasOwner | EtcdError,
  Etcd
> {
  const target = Service.fromLike(service)
  const key = yield* Effect.fromResult(
    checkOptions("Operator.deregister", (check) => keyOf(check, target, id, options))
  )
  const etcd = yield* Etcd
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const kv = yield* read(etcd, key)
    if (kv.lease !== 0n) return yield* new InstanceHasOwner({ key, leaseId: kv.lease })
    const { header, succeeded } = yield* etcd.txn({
      compare: [{ target: "mod", key, result: "equal", value: kv.modRevision }],
      then: [{ _tag: "DeleteRange", request: { key } }]
    })
    if (succeeded) return { key, revision: header.revision }
  }
  return yield* keepsChanging(key)
})
