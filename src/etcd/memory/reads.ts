/**
 * Evaluates reads and comparisons against the store at one revision.
 *
 * @module
 */
import { compareText, fromText, interval, toText } from "./keys.ts"
import type { Compare, KeyValue, RangeRequest, RangeResponse } from "../messages/kv.ts"
import type { Store, Version } from "./Store.ts"

/** A version in etcd's terms, with copied bytes. */
export const toKeyValue = (version: Version): KeyValue => ({
  key: fromText(version.key),
  value: fromText(version.value),
  createRevision: BigInt(version.create),
  modRevision: BigInt(version.mod),
  version: BigInt(version.version),
  lease: version.lease
})

/** The same without its value; etcd 3.7 leaves the lease out as well. */
const withoutValue = (version: Version, hasLease: boolean): KeyValue => {
  const { lease, ...rest } = toKeyValue({ ...version, value: "" })
  return { ...rest, lease: hasLease ? lease : 0n }
}

/** The revision of a read: the requested one, or the newest. */
const revisionOf = (request: RangeRequest, newest: number): number => {
  const revision = Number(request.revision ?? 0n)
  return revision > 0 ? revision : newest
}

/** Reads a key or a range. The revision must exist. */
export const readRange = (
  store: Store,
  request: RangeRequest,
  newest: number,
  keysOnlyLeases: boolean
): Omit<RangeResponse, "header"> => {
  const { sort, countOnly = false, keysOnly = false } = request
  const limit = request.limit !== undefined && request.limit > 0 ? request.limit : Infinity
  const versions: Array<Version> = []
  let count = 0
  store.forEach(interval(request), revisionOf(request, newest), (version) => {
    count++
    const room = sort !== undefined || versions.length <= limit
    if (!countOnly && room && isWithin(version, request)) versions.push(version)
  })
  if (sort !== undefined) versions.sort(order(sort))
  const more = versions.length > limit
  if (more) versions.length = limit
  const kvs = versions.map((version) => keysOnly ? withoutValue(version, keysOnlyLeases) : toKeyValue(version))
  return { kvs, more, count: BigInt(count) }
}

const isWithin = ({ mod, create }: Version, request: RangeRequest): boolean => {
  const { minModRevision = 0n, maxModRevision = 0n, minCreateRevision = 0n, maxCreateRevision = 0n } = request
  return !(minModRevision !== 0n && mod < minModRevision) &&
    !(maxModRevision !== 0n && mod > maxModRevision) &&
    !(minCreateRevision !== 0n && create < minCreateRevision) &&
    !(maxCreateRevision !== 0n && create > maxCreateRevision)
}

const order = ({ target, order }: NonNullable<RangeRequest["sort"]>): (self: Version, that: Version) => number => {
  const sign = order === "ascend" ? 1 : -1
  if (target === "key" || target === "value") return (self, that) => sign * compareText(self[target], that[target])
  return (self, that) => sign * (self[target] - that[target])
}

/** The values that a comparison uses for a missing key. */
const absent = { version: 0, create: 0, mod: 0, lease: 0n, value: "" }

/** Whether a comparison holds for the key, or for each existing key of the range. */
export const holds = (store: Store, compare: Compare, revision: number): boolean => {
  let found = false
  let all = true
  store.forEach(interval(compare), revision, (version) => {
    found = true
    all &&= holdsFor(compare, version)
  })
  return found ? all : compare.target !== "value" && holdsFor(compare, absent)
}

const holdsFor = (compare: Compare, version: typeof absent): boolean => {
  const order = compare.target === "value" ?
    compareText(version.value, toText(compare.value)) :
    compareNumbers(version[compare.target], compare.value)
  switch (compare.result) {
    case "equal":
      return order === 0
    case "notEqual":
      return order !== 0
    case "greater":
      return order > 0
    case "less":
      return order < 0
  }
}

const compareNumbers = (self: number | bigint, that: bigint): -1 | 0 | 1 => self < that ? -1 : self > that ? 1 : 0
