/**
 * The reads of `doctor`. It writes nothing and does not need root: reads that etcd does not permit are recorded as
 * denied.
 *
 * @module
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { X509Certificate } from "node:crypto"
import { readFile } from "node:fs/promises"
import type { Alarm, Member, StatusResponse } from "../../etcd/Administration.ts"
import { Etcd } from "../../etcd/Etcd.ts"
import { prefix } from "../../etcd/KeyRange.ts"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { rangeAll } from "../../etcd/rangeAll.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type * as EtcdGrpc from "../../etcd/grpc/EtcdGrpc.ts"
import type { Connection } from "../connection.ts"
import { greet, type Greeting } from "./greet.ts"

/** A read, or why it failed. */
export type Read<A> = Result.Result<A, EtcdError>

/** The state of one endpoint. */
export interface EndpointFacts {
  readonly endpoint: string
  /** The ids of the cluster and the member. Every user may read them. */
  readonly identity: Read<{ readonly clusterId: bigint; readonly memberId: bigint }>
  /** With authentication, only root may read this. */
  readonly status: Read<StatusResponse>
  /** The clock and the certificate of the member, if they could be read. */
  readonly greeting: Option.Option<Greeting>
}

/** The lease of a key. `left` is negative if the lease no longer exists. */
export interface LeaseFacts {
  readonly ttl: number
  readonly left: number
}

/** All facts that `doctor` evaluates. */
export interface Facts {
  /** The time of this machine, in milliseconds since the epoch. */
  readonly now: number
  readonly hasPassword: boolean
  readonly endpoints: ReadonlyArray<EndpointFacts>
  readonly members: Read<ReadonlyArray<Member>>
  readonly alarms: Read<ReadonlyArray<Alarm>>
  /** The keys of the namespace, by a linearizable read. */
  readonly keys: Read<ReadonlyArray<KeyValue>>
  readonly leases: ReadonlyMap<LeaseId, LeaseFacts>
  /** When the certificate of this client expires, in milliseconds since the epoch. */
  readonly clientCertificateEnds: Option.Option<number>
}

const endpointFacts = Effect.fnUntraced(function* (etcd: Etcd, options: EtcdGrpc.Options, endpoint: string) {
  const calls = etcd.administration.at(endpoint)
  if (Result.isFailure(calls)) return []
  const { memberList, status } = calls.success
  const [identity, state, greeting] = yield* Effect.all([
    Effect.result(Effect.map(memberList({ serializable: true }), ({ header }) => header)),
    Effect.result(status),
    Effect.option(greet(endpoint, options))
  ], { concurrency: "unbounded" })
  return [{ endpoint, identity, status: state, greeting }]
})

/** When a certificate (PEM text or a file path) expires. */
const endOf = (certificate: string): Effect.Effect<number, unknown> =>
  Effect.tryPromise(async () => {
    const pem = certificate.includes("-----BEGIN") ? certificate : await readFile(certificate, "utf8")
    return Date.parse(new X509Certificate(pem).validTo)
  })

const leaseFacts = (etcd: Etcd, keys: ReadonlyArray<KeyValue>) =>
  Effect.map(
    Effect.forEach(
      new Set(keys.map(({ lease }) => lease).filter((lease) => lease !== 0n)),
      (id) => Effect.map(Effect.option(etcd.leaseTimeToLive({ id })), (answer) => [id, answer] as const),
      { concurrency: 16 }
    ),
    (answers) =>
      new Map(answers.flatMap(([id, answer]) =>
        Option.isNone(answer) ? [] : [[id, { ttl: answer.value.grantedTtl, left: answer.value.ttl }] as const]
      ))
  )

/** Reads everything concurrently. */
export const gather = Effect.fnUntraced(function* (
  { keyspace, options }: Connection
): Effect.fn.Return<Facts, never, Etcd> {
  const etcd = yield* Etcd
  const grpc = Option.getOrUndefined(options)
  const [endpoints, members, alarms, keys, clientCertificateEnds] = yield* Effect.all([
    Effect.forEach(grpc?.endpoints ?? [], (endpoint) => endpointFacts(etcd, grpc ?? { endpoints: [] }, endpoint), {
      concurrency: "unbounded"
    }),
    Effect.result(Effect.map(etcd.administration.memberList({ serializable: true }), ({ members }) => members)),
    Effect.result(Effect.map(etcd.administration.alarms, ({ alarms }) => alarms)),
    Effect.result(Effect.map(rangeAll(etcd, prefix(keyspace.prefix)), ({ kvs }) => kvs)),
    grpc?.tls?.cert === undefined ? Effect.succeedNone : Effect.option(endOf(grpc.tls.cert))
  ], { concurrency: "unbounded" })
  return {
    now: yield* Clock.currentTimeMillis,
    hasPassword: grpc?.password !== undefined,
    endpoints: endpoints.flat(),
    members,
    alarms,
    keys,
    leases: Result.isSuccess(keys) ? yield* leaseFacts(etcd, keys.success) : new Map(),
    clientCertificateEnds
  }
})
