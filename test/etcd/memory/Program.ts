/**
 * Random programs for the model check: their commands, and the requests of a command.
 *
 * A program uses names of keys, revisions relative to its first one, and numbers of leases, so it means the same on
 * every store. There are few keys, few leases and near revisions, so that commands affect each other.
 *
 * @module
 */
import { Schema } from "effect"
import { type KeyRange, prefix, toBytes } from "../../../src/etcd/KeyRange.ts"
import type * as Etcd from "../../../src/etcd/mod.ts"

/** In byte order, which differs from text order. */
const names = ["a", "a\0", "b", "\uff5e", "\u{1f600}"] as const

const optional = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(schema)
const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const list = <S extends Schema.Constraint>(schema: S, maximum: number) =>
  Schema.Array(schema).check(Schema.isMaxLength(maximum))

const Name = Schema.Literals(names)
/** Leases 0 and 1 exist at the start. */
const LeaseNumber = upTo(2)
const Later = upTo(10)
const Value = Schema.Literals(["", "x", "y", "\u{1f600}"])

const Keys = Schema.Union([
  Schema.TaggedStruct("One", { name: Name }),
  Schema.TaggedStruct("Between", { name: Name, end: Name }),
  Schema.TaggedStruct("StartingWith", { start: Schema.Literals(["", "a", "\uff5e"]) })
])

const Range = Schema.TaggedStruct("Range", {
  keys: Schema.Union([Keys, Schema.TaggedStruct("From", { name: Name })]),
  revision: optional(Later),
  limit: optional(upTo(3)),
  sort: optional(Schema.Struct({
    target: Schema.Literals(["key", "version", "create", "mod", "value"]),
    order: Schema.Literals(["ascend", "descend"])
  })),
  keysOnly: optional(Schema.Boolean),
  countOnly: optional(Schema.Boolean),
  minModRevision: optional(Later),
  maxModRevision: optional(Later),
  minCreateRevision: optional(Later),
  maxCreateRevision: optional(Later)
})

const Put = Schema.TaggedStruct("Put", {
  name: Name,
  value: Value,
  lease: optional(LeaseNumber),
  prevKv: optional(Schema.Boolean),
  ignoreValue: optional(Schema.Boolean),
  ignoreLease: optional(Schema.Boolean)
})

const Delete = Schema.TaggedStruct("Delete", { keys: Keys, prevKv: optional(Schema.Boolean) })

const Result = Schema.Literals(["equal", "notEqual", "greater", "less"])
const Compare = Schema.Union([
  Schema.TaggedStruct("Version", { keys: Keys, result: Result, version: upTo(2) }),
  Schema.TaggedStruct("Revision", {
    keys: Keys,
    result: Result,
    target: Schema.Literals(["create", "mod"]),
    later: Later
  }),
  Schema.TaggedStruct("Absent", { keys: Keys, result: Result, target: Schema.Literals(["create", "mod", "lease"]) }),
  Schema.TaggedStruct("Lease", { keys: Keys, result: Result, lease: LeaseNumber }),
  Schema.TaggedStruct("Value", { keys: Keys, result: Result, value: Value })
])

const transaction = <S extends Schema.Constraint>(op: S) =>
  Schema.TaggedStruct("Txn", { compare: list(Compare, 2), then: list(op, 4), else: list(op, 2) })

const leaf = [Range, Put, Delete] as const
const Txn = transaction(Schema.Union([...leaf, transaction(Schema.Union([...leaf, transaction(Schema.Union(leaf))]))]))

/** One step of a program. */
export const Command = Schema.Union([
  Range,
  Put,
  Put,
  Delete,
  Txn,
  Txn,
  Schema.TaggedStruct("Grant", { lease: LeaseNumber }),
  Schema.TaggedStruct("Revoke", { lease: LeaseNumber }),
  Schema.TaggedStruct("Renew", { lease: LeaseNumber }),
  Schema.TaggedStruct("TimeToLive", { lease: LeaseNumber }),
  Schema.TaggedStruct("Leases", {}),
  Schema.TaggedStruct("Compact", { later: Later }),
  Schema.TaggedStruct("Watch", {
    keys: Keys,
    start: optional(Later),
    prevKv: optional(Schema.Boolean),
    filter: optional(Schema.Literals(["noPut", "noDelete"]))
  })
])
export type Command = typeof Command.Type

/** The commands of a program, in order. */
export const Program = Schema.Array(Command)

/** Programs in which the lease of some keys expires. */
export const ExpiringProgram = Schema.Struct({
  before: Program,
  expiring: list(Name, 3).check(Schema.isMinLength(1)),
  after: Program
})

/** The keys, revisions and leases of a program in one store. */
export interface Place {
  /** The prefix of all keys. */
  readonly root: string
  /** The newest revision at the start of the program. */
  readonly base: bigint
  /** The id of lease 0. */
  readonly firstLease: bigint
}

export type Keys = typeof Keys.Type | { readonly _tag: "From"; readonly name: string }

export const keyOf = ({ root }: Place, name: string): Uint8Array => toBytes(root + name)

/** All keys that a program can write. */
export const allKeys = (place: Place): ReadonlyArray<Uint8Array> => names.map((name) => keyOf(place, name))

export const rangeOf = (place: Place, keys: Keys): KeyRange => {
  switch (keys._tag) {
    case "One":
      return { key: keyOf(place, keys.name) }
    case "Between":
      return { key: keyOf(place, keys.name), rangeEnd: keyOf(place, keys.end) }
    case "From":
      return { key: keyOf(place, keys.name), rangeEnd: "\0" }
    case "StartingWith":
      return prefix(keyOf(place, keys.start))
  }
}

export const leaseOf = ({ firstLease }: Place, lease: number): bigint => firstLease + BigInt(lease)

/** A revision, or `undefined`. */
export const revisionOf = ({ base }: Place, later: number): bigint => base + BigInt(later)

/** A property with a revision, if there is one. */
const revision = <Name extends string>(
  place: Place,
  name: Name,
  later: number | undefined
): { readonly [N in Name]?: bigint } =>
  later === undefined ? {} : { [name]: revisionOf(place, later) } as { readonly [N in Name]: bigint }

export const rangeRequest = (place: Place, range: typeof Range.Type): Etcd.RangeRequest => {
  const { _tag: _, keys, maxCreateRevision, maxModRevision, minCreateRevision, minModRevision, ...rest } = range
  const { revision: at, ...others } = rest
  return {
    ...others,
    ...rangeOf(place, keys),
    ...revision(place, "revision", at),
    ...revision(place, "minModRevision", minModRevision),
    ...revision(place, "maxModRevision", maxModRevision),
    ...revision(place, "minCreateRevision", minCreateRevision),
    ...revision(place, "maxCreateRevision", maxCreateRevision)
  }
}

export const putRequest = (place: Place, { _tag: _, lease, name, ...rest }: typeof Put.Type): Etcd.PutRequest => ({
  ...rest,
  key: keyOf(place, name),
  ...(lease === undefined ? {} : { lease: leaseOf(place, lease) })
})

export const deleteRequest = (place: Place, { keys, prevKv }: typeof Delete.Type): Etcd.DeleteRangeRequest => ({
  ...rangeOf(place, keys),
  ...(prevKv === undefined ? {} : { prevKv })
})

const compareOf = (place: Place, compare: typeof Compare.Type): Etcd.Compare => {
  const { keys, result } = compare
  const range = { ...rangeOf(place, keys), result }
  switch (compare._tag) {
    case "Version":
      return { ...range, target: "version", value: BigInt(compare.version) }
    case "Revision":
      return { ...range, target: compare.target, value: revisionOf(place, compare.later) }
    case "Absent":
      return { ...range, target: compare.target, value: 0n }
    case "Lease":
      return { ...range, target: "lease", value: leaseOf(place, compare.lease) }
    case "Value":
      return { ...range, target: "value", value: compare.value }
  }
}

type Op = typeof Range.Type | typeof Put.Type | typeof Delete.Type | TxnCommand

interface TxnCommand {
  readonly _tag: "Txn"
  readonly compare: ReadonlyArray<typeof Compare.Type>
  readonly then: ReadonlyArray<Op>
  readonly else: ReadonlyArray<Op>
}

const opOf = (place: Place, op: Op): Etcd.RequestOp => {
  switch (op._tag) {
    case "Range":
      return { _tag: "Range", request: rangeRequest(place, op) }
    case "Put":
      return { _tag: "Put", request: putRequest(place, op) }
    case "Delete":
      return { _tag: "DeleteRange", request: deleteRequest(place, op) }
    case "Txn":
      return { _tag: "Txn", request: txnRequest(place, op) }
  }
}

export const txnRequest = (place: Place, txn: TxnCommand): Etcd.TxnRequest => ({
  compare: txn.compare.map((compare) => compareOf(place, compare)),
  then: txn.then.map((op) => opOf(place, op)),
  else: txn.else.map((op) => opOf(place, op))
})

export const watchRequest = (
  place: Place,
  { filter, keys, prevKv, start }: Extract<Command, { readonly _tag: "Watch" }>
): Etcd.WatchRequest => ({
  ...rangeOf(place, keys),
  ...(prevKv === undefined ? {} : { prevKv }),
  ...(filter === undefined ? {} : { filters: [filter] }),
  ...revision(place, "startRevision", start)
})
