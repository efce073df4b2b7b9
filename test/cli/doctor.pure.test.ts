import { Option, Result } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import type { EndpointFacts, Facts } from "../../src/cli/doctor/facts.ts"
import { judge } from "../../src/cli/doctor/findings.ts"
import type { StatusResponse } from "../../src/etcd/Administration.ts"
import * as Keyspace from "../../src/registry/model/Keyspace.ts"

const keyspace = Result.getOrThrow(Keyspace.make("/services"))
const now = Date.parse("2026-01-01T00:00:00Z")
const day = 86_400_000
const gibibyte = 1024 ** 3

const status: StatusResponse = {
  header: { clusterId: 7n, memberId: 1n, revision: 5n, raftTerm: 2n },
  version: "3.5.30",
  dbSize: 1024n,
  dbSizeInUse: 1024n,
  leader: 1n,
  raftIndex: 9n,
  raftTerm: 2n,
  raftAppliedIndex: 9n,
  errors: [],
  isLearner: false
}

const endpoint = (change: Partial<StatusResponse> = {}, rest: Partial<EndpointFacts> = {}): EndpointFacts => ({
  endpoint: "https://etcd-1:2379",
  identity: Result.succeed({ clusterId: 7n, memberId: 1n }),
  status: Result.succeed({ ...status, ...change }),
  greeting: Option.some({ aheadMillis: 400, certificateEnds: now + 90 * day }),
  ...rest
})

const member = { id: 1n, name: "etcd-1", peerUrls: [], clientUrls: ["https://etcd-1:2379"], isLearner: false }

const healthy: Facts = {
  now,
  hasPassword: true,
  endpoints: [endpoint()],
  members: Result.succeed([member]),
  alarms: Result.succeed([]),
  keys: Result.succeed([]),
  leases: new Map(),
  clientCertificateEnds: Option.some(now + 90 * day)
}

const found = (change: Partial<Facts>): ReadonlyArray<string> =>
  judge({ ...healthy, ...change }, keyspace, { quotaBytes: 2 * gibibyte, certificateDays: 14 }).findings
    .map(({ check, severity, subject }) => `${severity} ${check} ${subject}`)

describe("judge (doctor)", () => {
  it("judge reports nothing for healthy facts", () => assert.deepEqual(found({}), []))

  it("judge warns of a database at 80 % of its quota and reports a problem at 95 %", () => {
    const dbSize = BigInt(Math.round(1.7 * gibibyte))
    const full = (change: Partial<StatusResponse>) =>
      found({ endpoints: [endpoint({ dbSize, dbSizeInUse: dbSize, ...change })] })
    assert.deepEqual(full({}), ["warning quota https://etcd-1:2379"])
    assert.deepEqual(full({ dbSizeQuota: BigInt(1.75 * gibibyte) }), ["problem quota https://etcd-1:2379"])
    assert.deepEqual(full({ dbSizeQuota: BigInt(8 * gibibyte) }), [])
  })

  it("judge reports a fragmented database only if defragmentation is worthwhile", () => {
    const fragmented = (size: number, used: number) =>
      found({ endpoints: [endpoint({ dbSize: BigInt(size), dbSizeInUse: BigInt(used) })] })
    assert.deepEqual(fragmented(1e8, 4e7), ["warning fragmentation https://etcd-1:2379"])
    assert.deepEqual(fragmented(1e8, 6e7), [])
    assert.deepEqual(fragmented(1e6, 1e5), [])
  })

  it("judge reports members that no endpoint names, and accepts a named one that does not answer", () => {
    const other = { ...member, id: 2n, name: "etcd-2", clientUrls: ["https://etcd-2:2379"] }
    assert.deepEqual(found({ members: Result.succeed([member, other]) }), ["warning endpoint-missing etcd-2"])
    const named = endpoint({}, {
      endpoint: "https://etcd-2:2379",
      identity: Result.succeed({ clusterId: 7n, memberId: 2n })
    })
    assert.deepEqual(found({ members: Result.succeed([member, other]), endpoints: [endpoint(), named] }), [])
  })

  it("judge reports members with different versions, without a leader, or with a deviating clock", () => {
    assert.deepEqual(found({ endpoints: [endpoint(), endpoint({ version: "3.6.0" })] }), [
      "warning versions-differ cluster"
    ])
    assert.deepEqual(found({ endpoints: [endpoint({ leader: 0n })] }), ["problem no-leader https://etcd-1:2379"])
    for (const aheadMillis of [-6000, 6000]) {
      assert.deepEqual(found({ endpoints: [endpoint({}, { greeting: Option.some({ aheadMillis }) })] }), [
        "warning clock-differs https://etcd-1:2379"
      ])
    }
  })

  it("judge reports certificates that expire soon and unencrypted passwords", () => {
    const ends = (days: number) => Option.some({ aheadMillis: 0, certificateEnds: now + days * day })
    assert.deepEqual(found({ endpoints: [endpoint({}, { greeting: ends(13) })] }), [
      "warning certificate-expires https://etcd-1:2379"
    ])
    assert.deepEqual(found({ clientCertificateEnds: Option.some(now - day) }), [
      "problem certificate-expires this client"
    ])
    const plain = endpoint({}, { endpoint: "http://etcd-1:2379" })
    assert.deepEqual(found({ endpoints: [plain] }), ["warning password-unencrypted http://etcd-1:2379"])
    assert.deepEqual(found({ endpoints: [plain], hasPassword: false }), [])
  })

  it("judge reports a lease that lacks two heartbeats once for all its keys", () => {
    const encoder = new TextEncoder()
    const kv = (id: string) => ({
      key: encoder.encode(`/services/orders/${id}`),
      value: encoder.encode('{"endpoints":["http://a:80"]}'),
      createRevision: 2n,
      modRevision: 2n,
      version: 1n,
      lease: 16n
    })
    const keys = Result.succeed([kv("a"), kv("b")])
    const withLeft = (left: number) => found({ keys, leases: new Map([[16n, { ttl: 15, left }]]) })
    assert.deepEqual(withLeft(4), ["warning lease-expiring /services/orders/a"])
    assert.deepEqual(withLeft(5), [])
  })
})
