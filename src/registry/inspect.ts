/**
 * Everything that etcd holds about one instance, for tools that display it.
 *
 * @module
 */
import { Effect, Option, Result } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import * as Codec from "./model/Codec.ts"
import type { ServiceInstance } from "./model/Instance.ts"
import * as Keyspace from "./model/Keyspace.ts"
import { layoutOf } from "./model/Layout.ts"
import * as Service from "./model/Service.ts"
import { InstanceNotFound } from "./operator.ts"

/** The lease of a key. */
export interface LeaseState {
  readonly id: LeaseId
  /** Missing if etcd denies reading it. */
  readonly seconds: Option.Option<{ readonly granted: number; readonly left: number }>
}

/** What etcd holds about an instance. */
export interface Inspected {
  readonly key: string
  readonly value: Uint8Array
  readonly createRevision: bigint
  readonly modRevision: bigint
  /** The number of writes since the key was created. */
  readonly version: bigint
  readonly lease: Option.Option<LeaseState>
  /** The instance, or why consumers reject the key. */
  readonly instance: Result.Result<ServiceInstance<unknown>, string>
}

/**
 * Reads an instance and its lease. Fails with `InvalidOption` before anything is sent, with `InstanceNotFound` and with an
 * `EtcdError`. It does not retry.
 */
export const inspect = Effect.fnUntraced(function* (
  service: Service.ServiceLike,
  id: string,
  options: { readonly namespace?: string } = {}
): Effect.fn.Return<Inspected, InvalidOption | InstanceNotFound | EtcdError, Etcd> {
  const { codec, name } = Service.fromLike(service)
  const { key, layout } = yield* Effect.fromResult(checkOptions("inspect", (check) => {
    const given = options.namespace ?? Keyspace.defaultNamespace
    const layout = layoutOf({ codec }, check.valid("namespace", given, Keyspace.make(given)))
    check.valid("service", name, layout.checkName(name))
    return { layout, key: layout.key(name, check.valid("id", id, layout.checkId(id))) }
  }))
  const etcd = yield* Etcd
  const { kvs: [kv] } = yield* etcd.range({ key })
  if (kv === undefined) return yield* new InstanceNotFound({ key })
  const { createRevision, lease, modRevision, value, version } = kv
  const isLeaseless = lease === 0n && layout.isLeaseOptional !== true
  return {
    key,
    value,
    createRevision,
    modRevision,
    version,
    lease: lease === 0n ? Option.none() : Option.some({ id: lease, seconds: yield* secondsOf(etcd, lease) }),
    instance: isLeaseless ?
      Result.fail("the key has no lease, so nothing would remove it") :
      Result.mapError(Codec.decode(codec, name, id, value), ({ detail }) => detail)
  }
})

const secondsOf = (etcd: Etcd, id: LeaseId): Effect.Effect<LeaseState["seconds"]> =>
  Effect.map(
    Effect.option(etcd.leaseTimeToLive({ id })),
    Option.map(({ grantedTtl, ttl }) => ({ granted: grantedTtl, left: Math.max(0, ttl) }))
  )
