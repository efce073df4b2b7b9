/**
 * Converts permissions to and from the messages of `etcd3`.
 *
 * @module
 */
import type { IPermission } from "etcd3"
import { Buffer } from "node:buffer"
import { type Bytes, type KeyRange, toBytes } from "../etcd/KeyRange.ts"
import type { Check } from "../internal/options.ts"

/**
 * The access of a role to a key, or with `rangeEnd` to a range of keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface Permission extends KeyRange {
  readonly access: "read" | "write" | "readwrite"
}

const permissionTypes = { read: "Read", write: "Write", readwrite: "Readwrite" } as const
const accesses = { Read: "read", Write: "write", Readwrite: "readwrite" } as const

const bufferOf = (bytes: Bytes): Buffer => Buffer.from(toBytes(bytes))

export const fromEtcd3 = ({ key, permType, range_end: rangeEnd }: IPermission): Permission => ({
  access: accesses[permType],
  key: new Uint8Array(key),
  ...(rangeEnd.length === 0 ? {} : { rangeEnd: new Uint8Array(rangeEnd) })
})

export const toEtcd3 = ({ access, key, rangeEnd = "" }: Permission): IPermission => ({
  permType: permissionTypes[access],
  key: bufferOf(key),
  range_end: bufferOf(rangeEnd)
})

/** A valid permission as a message. */
export const checkPermission = (check: Check, permission: Permission): IPermission => {
  check.oneOf("access", permission.access, ["read", "write", "readwrite"])
  checkRange(check, permission)
  return toEtcd3(permission)
}

/** A valid range as a part of a message. */
export const checkRange = (check: Check, { key, rangeEnd = "" }: KeyRange): { key: Buffer; range_end: Buffer } => {
  if (!isBytes(key) || key.length === 0) check.refuse("key", key, "it must be a key of at least one byte")
  if (!isBytes(rangeEnd)) check.refuse("rangeEnd", rangeEnd, "it must be text or bytes")
  return { key: bufferOf(key), range_end: bufferOf(rangeEnd) }
}

const isBytes = (value: unknown): boolean => typeof value === "string" || value instanceof Uint8Array

/**
 * Returns whether a role's permissions include a permission. etcd would replace one on the same range, even by a
 * narrower one.
 */
export const grantedBy = (permissions: ReadonlyArray<Permission>): (wanted: Permission) => boolean => {
  const rangeOf = ({ key, rangeEnd = "" }: Permission) =>
    `${bufferOf(key).toString("hex")} ${bufferOf(rangeEnd).toString("hex")}`
  const granted = new Map(permissions.map((permission) => [rangeOf(permission), permission.access]))
  return (wanted) => {
    const access = granted.get(rangeOf(wanted))
    return access === wanted.access || access === "readwrite"
  }
}
