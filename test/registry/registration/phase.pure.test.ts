import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { EtcdError, Unavailable } from "../../../src/etcd/EtcdError.ts"
import type { KeyValue } from "../../../src/etcd/messages/kv.ts"
import { strings } from "../../../src/registry/model/Codec.ts"
import type { Labels } from "../../../src/registry/model/Instance.ts"
import { holderOf, type KeyOwner } from "../../../src/registry/registration/holder.ts"
import type { SeenKey } from "../../../src/registry/registration/ownKeys.ts"
import * as Phase from "../../../src/registry/registration/phase.ts"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import {
  InstanceIdTaken,
  RegistrationLost,
  RegistrationRefused
} from "../../../src/registry/registration/RegistrationError.ts"

const key = "/services/orders/a"
const owner: KeyOwner<Labels> = {
  key,
  codec: strings,
  instance: { id: "a", name: "orders", metadata: {}, endpoints: ["http://a:1"], weight: 1, status: "up" }
}
const unavailable = new EtcdError({ reason: new Unavailable({ detail: "refused" }), method: "txn" })
const gone = new RegistrationLost({ key })
const taken = new InstanceIdTaken({ key, by: { leaseId: 9n, revision: 30n } })
const refused = new RegistrationRefused({ key, cause: unavailable })

const claiming = Phase.initial
const held = Phase.afterClaim(claiming, 7n, 20n, undefined)
const draining = Phase.afterWrite(held, 21n, 5000)
const lost = Phase.afterLoss(held, gone, 1000) as Phase.Claiming

const statuses: ReadonlyArray<readonly [string, Phase.Phase, RegistrationStatus]> = [
  ["the first phase", claiming, RegistrationStatus.Registering({ attempt: 1 })],
  ["a failed attempt", Phase.afterFailure(claiming, unavailable), RegistrationStatus.Registering({ attempt: 2 })],
  ["a wait for another holder", Phase.whileWaiting(claiming, 9000), RegistrationStatus.Registering({ attempt: 1 })],
  ["a claim", held, RegistrationStatus.Registered({ leaseId: 7n, revision: 20n })],
  [
    "a write of another value",
    Phase.afterWrite(held, 25n, undefined),
    RegistrationStatus.Registered({ leaseId: 7n, revision: 20n })
  ],
  ["a write of draining", draining, RegistrationStatus.Draining()],
  [
    "a write of up after draining",
    Phase.afterWrite(draining, 22n, undefined),
    RegistrationStatus.Registered({ leaseId: 7n, revision: 20n })
  ],
  ["a loss", lost, RegistrationStatus.Recovering({ since: 1000, attempt: 1, cause: gone })],
  [
    "a failed attempt after a loss",
    Phase.afterFailure(lost, unavailable),
    RegistrationStatus.Recovering({ since: 1000, attempt: 2, cause: unavailable })
  ],
  [
    "a claim after a loss",
    Phase.afterClaim(lost, 8n, 40n, undefined),
    RegistrationStatus.Registered({ leaseId: 8n, revision: 40n })
  ],
  ["a claim of draining after a loss", Phase.afterClaim(lost, 8n, 40n, 6000), RegistrationStatus.Draining()],
  ["a loss while leaving", Phase.afterLoss(Phase.whileLeaving(draining), gone, 1), RegistrationStatus.Released()],
  ["a first claim of a taken id", Phase.afterTaken(claiming, taken), RegistrationStatus.Failed({ error: taken })],
  ["a held key that was taken", Phase.afterTaken(held, taken), RegistrationStatus.Superseded({ by: taken.by })],
  ["a lost key that was taken", Phase.afterTaken(lost, taken), RegistrationStatus.Superseded({ by: taken.by })],
  ["an error", Phase.afterError(refused), RegistrationStatus.Failed({ error: refused })],
  ["the release of a held key", Phase.afterRelease(held), RegistrationStatus.Released()],
  ["the release of a lost key", Phase.afterRelease(lost), RegistrationStatus.Released()],
  [
    "the release after another end",
    Phase.afterRelease(Phase.afterTaken(held, taken)),
    RegistrationStatus.Superseded({ by: taken.by })
  ]
]

describe("phase", () => {
  for (const [title, phase, expected] of statuses) {
    it(`statusOf shows ${expected._tag} after ${title}`, () => assert.deepEqual(Phase.statusOf(phase), expected))
  }

  it("hasSameStatus agrees with statusOf for all pairs of phases of one tenure", () => {
    for (const [, before] of statuses) {
      for (const [, after] of statuses) {
        // A tenure has one claim; two Held phases of different tenures never follow one another.
        if (before._tag === "Held" && after._tag === "Held" && before.leaseId !== after.leaseId) continue
        // A missed change would hide a status. A repeated report is harmless.
        if (!Phase.hasSameStatus(before, after)) continue
        assert.deepEqual(Phase.statusOf(before), Phase.statusOf(after))
      }
    }
  })

  it("a loss keeps the revision of the last write and the time of draining", () => {
    const { drainingSince, lastRevision } = Phase.afterLoss(draining, gone, 1) as Phase.Claiming
    assert.deepEqual({ drainingSince, lastRevision }, {
      drainingSince: 5000,
      lastRevision: 21n
    })
    assert.equal(
      Phase.afterClaim(Phase.afterLoss(draining, gone, 1) as Phase.Claiming, 8n, 40n, 9000).drainingSince,
      5000
    )
  })

  it("a wait for another holder keeps the limit of the first wait", () => {
    assert.equal(Phase.whileWaiting(Phase.whileWaiting(claiming, 9000), 12_000).waitUntil, 9000)
  })

  it("errorOf returns the error of a failed or superseded registration, and none after a release", () => {
    assert.equal(Phase.errorOf(Phase.afterError(refused), key), refused)
    assert.deepEqual(Phase.errorOf(Phase.afterTaken(held, taken), key), taken)
    assert.equal(Phase.errorOf(Phase.afterRelease(held), key), undefined)
  })
})

const kv = (lease: bigint, modRevision: bigint): KeyValue => ({
  key: new Uint8Array(),
  value: new Uint8Array(),
  createRevision: 1n,
  modRevision,
  version: 1n,
  lease
})

describe("meaningOf", () => {
  const written = Phase.afterWrite(held, 25n, undefined)
  const observations: ReadonlyArray<readonly [string, SeenKey, string]> = [
    ["the event of the last own write", { kv: kv(7n, 25n), revision: 25n, listed: false, isNewHistory: false }, "Old"],
    ["an event from before it", { kv: undefined, revision: 19n, listed: false, isNewHistory: false }, "Old"],
    ["a list from before it", { kv: kv(7n, 20n), revision: 20n, listed: true, isNewHistory: false }, "Unsure"],
    [
      "a list of another history without the key",
      { kv: undefined, revision: 3n, listed: true, isNewHistory: true },
      "Lost"
    ],
    [
      "a list of another history with the key",
      { kv: kv(7n, 2n), revision: 3n, listed: true, isNewHistory: true },
      "Own"
    ],
    ["a deletion", { kv: undefined, revision: 26n, listed: false, isNewHistory: false }, "Lost"],
    ["a list without the key", { kv: undefined, revision: 26n, listed: true, isNewHistory: false }, "Lost"],
    [
      "a later write under another lease",
      { kv: kv(9n, 26n), revision: 26n, listed: false, isNewHistory: false },
      "Taken"
    ],
    [
      "an older write under another lease",
      { kv: kv(9n, 5n), revision: 26n, listed: true, isNewHistory: false },
      "Lost"
    ],
    [
      "a later write under the own lease",
      { kv: kv(7n, 26n), revision: 26n, listed: false, isNewHistory: false },
      "Own"
    ],
    ["a later list with the key as it was written", {
      kv: kv(7n, 25n),
      revision: 99n,
      listed: true,
      isNewHistory: false
    }, "Own"]
  ]
  for (const [title, seen, expected] of observations) {
    it(`meaningOf is ${expected} for ${title}`, () =>
      assert.equal(Phase.meaningOf(written, owner, seen)._tag, expected))
  }

  it("a later list moves the revision below which events are ignored, an event does not", () => {
    const of = (listed: boolean) =>
      Phase.meaningOf(written, owner, { kv: kv(7n, 25n), revision: 99n, listed, isNewHistory: false })
    const seenAt = (meaning: Phase.Meaning) => meaning._tag === "Own" ? meaning.phase.seenAt : undefined
    assert.deepEqual([seenAt(of(true)), seenAt(of(false))], [99n, 25n])
  })
})

describe("InstanceIdTaken", () => {
  const valueOf = (text: string, lease: bigint) => ({ ...kv(lease, 30n), value: new TextEncoder().encode(text) })

  it("InstanceIdTaken names the endpoints, the version and the lease of the holder", () => {
    const by = holderOf(owner, valueOf(`{"endpoints":["http://b:1"],"version":"1.2"}`, 0x4d2n))
    assert.deepEqual(by, { leaseId: 0x4d2n, revision: 30n, endpoints: ["http://b:1"], version: "1.2" })
    assert.equal(
      new InstanceIdTaken({ key, by }).message,
      `cannot register "/services/orders/a": it is held by "http://b:1" version "1.2" under lease 4d2 since ` +
        `revision 30. An id belongs to one process at a time. Choose another id, or stop the other process.`
    )
  })

  it("InstanceIdTaken explains how to delete a key without a lease", () => {
    const { message } = new InstanceIdTaken({ key, by: holderOf(owner, valueOf(`{"endpoints":["http://b:1"]}`, 0n)) })
    assert.match(message, /the key exists without a lease, with "http:\/\/b:1" since revision 30\. It never expires\./)
    assert.match(message, /etcdctl del "\/services\/orders\/a"/)
  })

  it("holderOf leaves the endpoints out if the value does not decode, or the codec throws", () => {
    assert.deepEqual(holderOf(owner, valueOf("no json", 9n)), { leaseId: 9n, revision: 30n })
    const codec = { ...strings, decode: () => assert.fail("a codec that throws") }
    assert.deepEqual(holderOf({ ...owner, codec }, valueOf("{}", 9n)), { leaseId: 9n, revision: 30n })
  })
})

describe("JSON", () => {
  it("JSON.stringify writes each status and error although they hold bigints", () => {
    const written = [
      RegistrationStatus.Registered({ leaseId: 7n, revision: 20n }),
      RegistrationStatus.Superseded({ by: taken.by }),
      RegistrationStatus.Failed({ error: taken }),
      RegistrationStatus.Recovering({ since: 1, attempt: 1, cause: unavailable })
    ].map((status) => JSON.parse(JSON.stringify(status)))
    assert.deepEqual(written.slice(0, 2), [
      { _tag: "Registered", leaseId: "7", revision: "20" },
      { _tag: "Superseded", by: { leaseId: "9", revision: "30" } }
    ])
    assert.deepEqual(written[2].error, {
      _tag: "InstanceIdTaken",
      message: taken.message,
      key,
      by: { leaseId: "9", revision: "30" }
    })
    assert.equal(written[3].cause.message, unavailable.message)
  })
})
