/**
 * Evaluates the facts that `doctor` has read. Pure.
 *
 * @module
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import * as Codec from "../../registry/model/Codec.ts"
import { isAvailable, type ServiceInstance } from "../../registry/model/Instance.ts"
import type { Keyspace } from "../../registry/model/Keyspace.ts"
import { keyText } from "../../registry/model/Layout.ts"
import type { EndpointFacts, Facts } from "./facts.ts"
import type { CheckName, Finding, Skipped } from "./Finding.ts"

/** The findings, and the checks that could not run. */
export interface Report {
  readonly findings: ReadonlyArray<Finding>
  readonly skipped: ReadonlyArray<Skipped>
}

/** Limits of the checks. */
export interface Limits {
  /** The quota in bytes for etcd versions that do not report it. etcd's default is 2 GiB. */
  readonly quotaBytes: number
  /** Certificates that expire within this time are reported. */
  readonly certificateDays: number
}

const dayMillis = 86_400_000

/** The tolerated clock difference. A `Date` header has whole seconds, and a request takes time. */
const maxClockMillis = 5000

/** Free space in the database that justifies a defragmentation: at least half of it, and at least this much. */
const minFragmentedBytes = 32 * 1024 * 1024

const quotaWarning = 0.8
const quotaProblem = 0.95

const mebibytes = (bytes: bigint | number): string => `${(Number(bytes) / 1024 / 1024).toFixed(0)} MiB`

const isDenied = ({ reason }: EtcdError): boolean =>
  reason._tag === "PermissionDenied" || reason._tag === "Unauthenticated" || reason.detail.includes("permission denied")

const finding = (
  check: CheckName,
  severity: Finding["severity"],
  subject: string,
  message: string,
  remedy: string
): Finding => ({ check, severity, subject, message, remedy })

/** Returns the report on all facts. */
export const judge = (facts: Facts, keyspace: Keyspace, limits: Limits): Report => {
  const findings: Array<Finding> = []
  const skipped: Array<Skipped> = []
  const skip = (checks: ReadonlyArray<CheckName>, subject: string, { message }: { readonly message: string }) =>
    skipped.push({ checks, subject, reason: message })

  const reached = facts.endpoints.filter(({ identity }) => Result.isSuccess(identity))
  for (const { endpoint, identity, status } of facts.endpoints) {
    if (Result.isFailure(identity)) {
      if (isDenied(identity.failure)) skip(["endpoint-unreachable"], endpoint, identity.failure)
      else {
        findings.push(finding(
          "endpoint-unreachable",
          "problem",
          endpoint,
          `it does not answer: ${identity.failure.reason.detail}`,
          "Start that member, or remove it from --endpoints (ETCD_ENDPOINTS)."
        ))
      }
    } else if (Result.isFailure(status)) {
      skip(["no-leader", "quota", "fragmentation", "versions-differ"], endpoint, status.failure)
    }
  }
  findings.push(
    ...clusters(reached),
    ...members(facts),
    ...alarms(facts),
    ...reached.flatMap((endpoint) => [...storage(endpoint, limits), ...leader(endpoint), ...clock(endpoint)]),
    ...versions(reached),
    ...certificates(facts, limits),
    ...password(facts)
  )
  if (Result.isFailure(facts.members)) {
    skip(["endpoint-missing", "member-not-started"], "cluster", facts.members.failure)
  }
  if (Result.isFailure(facts.alarms)) skip(["alarm"], "cluster", facts.alarms.failure)
  if (Result.isSuccess(facts.keys)) {
    for (const found of registrations(facts, facts.keys.success, keyspace)) findings.push(found)
  } else if (isDenied(facts.keys.failure)) {
    findings.push(finding(
      "namespace-denied",
      "problem",
      keyspace.prefix,
      "this user may not read the namespace",
      `Grant it a role with read on the prefix ${keyspace.prefix} (etcdctl role grant-permission ROLE --prefix=true read ` +
        `${keyspace.prefix}), or use another user.`
    ))
  } else if (reached.length > 0) {
    findings.push(finding(
      "no-leader",
      "problem",
      "cluster",
      `a linearizable read fails: ${facts.keys.failure.reason.detail}`,
      "Start members until a majority of them runs."
    ))
  }
  return { findings, skipped }
}

const identityOf = ({ identity }: EndpointFacts) => Option.getOrUndefined(Result.getSuccess(identity))
const statusOf = ({ status }: EndpointFacts) => Option.getOrUndefined(Result.getSuccess(status))

const clusters = (reached: ReadonlyArray<EndpointFacts>): ReadonlyArray<Finding> => {
  const ids = new Set(reached.map((endpoint) => identityOf(endpoint)?.clusterId))
  return ids.size < 2 ? [] : [finding(
    "clusters-differ",
    "problem",
    reached.map(({ endpoint }) => endpoint).join(" "),
    `the endpoints belong to ${ids.size} clusters, so clients get different data, depending on the endpoint`,
    "Name the members of one cluster in --endpoints (ETCD_ENDPOINTS)."
  )]
}

const hostOf = (url: string): string => url.replace(/^[a-z]+:\/\//, "").replace(/\/$/, "")

const members = ({ endpoints, members }: Facts): ReadonlyArray<Finding> => {
  if (Result.isFailure(members)) return []
  const used = new Set(endpoints.map((endpoint) => identityOf(endpoint)?.memberId))
  const named = new Set(endpoints.map(({ endpoint }) => hostOf(endpoint)))
  return members.success.flatMap(({ clientUrls, id, name }) => {
    if (name === "") {
      return [finding(
        "member-not-started",
        "problem",
        id.toString(16),
        "this member was added but has not started; it counts towards the majority",
        "Start it, or remove it (etcdctl member remove)."
      )]
    }
    // Unreachable endpoints have a finding of their own.
    if (endpoints.length === 0 || used.has(id) || clientUrls.some((url) => named.has(hostOf(url)))) return []
    return [finding(
      "endpoint-missing",
      "warning",
      name,
      `no endpoint names this member (${clientUrls.join(" ")}), so clients cannot fail over to it`,
      "Add it to --endpoints (ETCD_ENDPOINTS) of every process."
    )]
  })
}

const alarms = ({ alarms }: Facts): ReadonlyArray<Finding> =>
  Result.isFailure(alarms) ? [] : alarms.success.map(({ memberId, type }) =>
    finding(
      "alarm",
      "problem",
      `member ${memberId.toString(16)}`,
      type === "nospace" ?
        "the alarm NOSPACE is raised: etcd refuses writes, so nothing can register" :
        `the alarm ${type.toUpperCase()} is raised`,
      type === "nospace" ?
        "Compact and defragment, or raise --quota-backend-bytes, then etcdctl alarm disarm." :
        "Replace this member from a snapshot or from the others, then etcdctl alarm disarm."
    )
  )

const storage = (endpoint: EndpointFacts, { quotaBytes }: Limits): ReadonlyArray<Finding> => {
  const status = statusOf(endpoint)
  if (status === undefined) return []
  const { dbSize, dbSizeInUse, dbSizeQuota } = status
  const hasQuota = dbSizeQuota !== undefined && dbSizeQuota > 0n
  const quota = hasQuota ? Number(dbSizeQuota) : quotaBytes
  const share = Number(dbSize) / quota
  const found: Array<Finding> = []
  if (share >= quotaWarning) {
    found.push(finding(
      "quota",
      share >= quotaProblem ? "problem" : "warning",
      endpoint.endpoint,
      `the database uses ${mebibytes(dbSize)}, ${Math.round(share * 100)} % of ` +
        `${hasQuota ? "its quota" : "an assumed quota"} of ${mebibytes(quota)}; at 100 % etcd refuses writes`,
      "Compact (--auto-compaction-retention) and defragment, or raise --quota-backend-bytes."
    ))
  }
  const free = dbSize - dbSizeInUse
  if (dbSizeInUse > 0n && free * 2n > dbSize && free >= BigInt(minFragmentedBytes)) {
    found.push(finding(
      "fragmentation",
      "warning",
      endpoint.endpoint,
      `${mebibytes(free)} of the database's ${mebibytes(dbSize)} are free but count against the quota`,
      `Defragment it: etcdctl --endpoints ${endpoint.endpoint} defrag, one member at a time.`
    ))
  }
  return found
}

const leader = (endpoint: EndpointFacts): ReadonlyArray<Finding> =>
  statusOf(endpoint)?.leader !== 0n ? [] : [finding(
    "no-leader",
    "problem",
    endpoint.endpoint,
    "this member has no leader, so writes and linearizable reads fail",
    "Start members until a majority of them runs, and check the network between them."
  )]

const clock = ({ endpoint, greeting }: EndpointFacts): ReadonlyArray<Finding> =>
  Option.match(greeting, {
    onNone: () => [],
    onSome: ({ aheadMillis }) =>
      Math.abs(aheadMillis) <= maxClockMillis ? [] : [finding(
        "clock-differs",
        "warning",
        endpoint,
        `its clock is ${Math.round(Math.abs(aheadMillis) / 1000)} s ${
          aheadMillis > 0 ? "ahead of" : "behind"
        } this one`,
        "Synchronize both with NTP: certificates, tokens and times in logs depend on it."
      )]
  })

const versions = (reached: ReadonlyArray<EndpointFacts>): ReadonlyArray<Finding> => {
  const found = new Set(reached.flatMap((endpoint) => statusOf(endpoint)?.version ?? []))
  return found.size < 2 ? [] : [finding(
    "versions-differ",
    "warning",
    "cluster",
    `the members run etcd ${[...found].sort().join(" and ")}`,
    "Finish the upgrade: etcd enables newer features only when all members run the new version."
  )]
}

const certificates = (
  { clientCertificateEnds, endpoints, now }: Facts,
  { certificateDays }: Limits
): ReadonlyArray<Finding> => {
  const judged = (subject: string, end: number | undefined, remedy: string): ReadonlyArray<Finding> => {
    if (end === undefined || end - now > certificateDays * dayMillis) return []
    const date = new Date(end).toISOString().slice(0, 10)
    const days = Math.floor((end - now) / dayMillis)
    return [finding(
      "certificate-expires",
      days < 3 ? "problem" : "warning",
      subject,
      end <= now ? `its certificate expired on ${date}` : `its certificate expires on ${date}, in ${days} days`,
      remedy
    )]
  }
  return [
    ...endpoints.flatMap(({ endpoint, greeting }) =>
      judged(
        endpoint,
        Option.getOrUndefined(greeting)?.certificateEnds,
        "Replace the certificate and the key of that member, and restart it."
      )
    ),
    ...judged(
      "this client",
      Option.getOrUndefined(clientCertificateEnds),
      "Replace the files of --cert and --key. Processes read them again for each connection."
    )
  ]
}

const password = ({ endpoints, hasPassword }: Facts): ReadonlyArray<Finding> => {
  const plain = endpoints.filter(({ endpoint }) => !endpoint.startsWith("https:"))
  return !hasPassword || plain.length === 0 ? [] : [finding(
    "password-unencrypted",
    "warning",
    plain.map(({ endpoint }) => endpoint).join(" "),
    "the password is sent without encryption",
    "Use https:// endpoints (--cacert)."
  )]
}

/** Finds problems with the keys of the namespace. */
const registrations = (
  { leases }: Facts,
  keys: Extract<Facts["keys"], { readonly _tag: "Success" }>["success"],
  keyspace: Keyspace
): ReadonlyArray<Finding> => {
  const found: Array<Finding> = []
  const services = new Map<string, Array<ServiceInstance<unknown>>>()
  const expiring = new Set<bigint>()
  for (const { key, lease, value } of keys) {
    const subject = keyText(key)
    const service = keyspace.serviceOf(key)
    const id = service === undefined ? undefined : keyspace.idOf(service, key)
    if (service === undefined || id === undefined) {
      found.push(finding(
        "key-foreign",
        "warning",
        subject,
        "this key of the namespace is not of the form <namespace>/<service>/<id>",
        "Move it to another prefix, or delete it (etcd-discovery kv del)."
      ))
      continue
    }
    const instance = Codec.decode(Codec.strings, service, id, value)
    const all = services.get(service) ?? []
    services.set(service, all)
    if (Result.isFailure(instance)) {
      found.push(finding(
        "value-invalid",
        "problem",
        subject,
        `its value is not an instance: ${instance.failure.detail}`,
        "Fix the program that writes it, or read it with its own --format."
      ))
    } else all.push(instance.success)
    if (lease === 0n) {
      found.push(finding(
        "key-without-lease",
        "warning",
        subject,
        "it has no lease: consumers reject it by default, and it stays when its process ends",
        `Register it with etcd-discovery register, or delete it (etcd-discovery deregister ${service} ${id}).`
      ))
    }
    const time = leases.get(lease)
    if (time !== undefined && time.left * 3 < time.ttl && !expiring.has(lease)) {
      expiring.add(lease)
      found.push(finding(
        "lease-expiring",
        "warning",
        subject,
        `its lease ${lease.toString(16)} has ${
          Math.max(0, time.left)
        } s left of ${time.ttl} s, so heartbeats are missing`,
        "Check that its process runs, is not paused, and reaches etcd."
      ))
    }
  }
  for (const [service, instances] of services) {
    if (instances.length === 0 || instances.some(isAvailable)) continue
    found.push(finding(
      "service-unavailable",
      "problem",
      service,
      `none of its ${instances.length} instances gets traffic: all are draining, down, starting or of weight 0`,
      `Run etcd-discovery instances ${service}. To end a drain, run etcd-discovery undrain.`
    ))
  }
  return found
}
