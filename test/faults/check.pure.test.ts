import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { check, figuresOf, type Promised, type Rule, rules } from "./check.ts"
import { contentOf, type Entry, fromLine, type Happened, type History, toLine } from "./History.ts"

const promised: Promised = {
  namespace: "/ns",
  ttl: 2000,
  silence: 2000,
  within: 5000,
  release: 2000,
  slack: 1000
}

const key = (id: string) => `/ns/orders/${id}`
const value = (id: string, owner: string, status = "up") =>
  JSON.stringify({ id, name: "orders", endpoints: [`http://${owner}:1`], metadata: { owner }, status })
const content = (owner: string, status = "up") =>
  contentOf({ endpoints: [`http://${owner}:1`], metadata: { owner }, status, weight: 1 })

// One constructor per kind of entry: what happened, at which millisecond.
const at = (moment: number, happened: Happened): Entry => ({ ...happened, at: moment })
const put = (
  moment: number,
  revision: bigint,
  id: string,
  { epoch = 0, lease = 7n, owner = id, status = "up" }: {
    readonly epoch?: number
    readonly lease?: bigint
    readonly owner?: string
    readonly status?: string
  } = {}
) => at(moment, { _tag: "Wrote", epoch, revision, key: key(id), value: value(id, owner, status), lease })
const gone = (moment: number, revision: bigint, id: string, epoch = 0) =>
  at(moment, { _tag: "Wrote", epoch, revision, key: key(id), value: undefined, lease: 0n })
const replaced = (moment: number, epoch: number) => at(moment, { _tag: "Replaced", epoch })
const began = (
  moment: number,
  kind: { readonly cuts?: boolean; readonly freezes?: boolean; readonly refuses?: boolean } = {},
  fault = 1
) => at(moment, { _tag: "FaultBegan", fault, name: "trouble", cuts: false, freezes: false, refuses: false, ...kind })
const healed = (moment: number, fault = 1) => at(moment, { _tag: "FaultHealed", fault })
const called = (
  moment: number,
  registrant: string,
  call: "register" | "start" | "update" | "release",
  id = registrant
) => at(moment, { _tag: "Called", registrant, call, key: key(id) })
const returned = (
  moment: number,
  registrant: string,
  call: "register" | "start" | "update" | "release",
  failure?: string
) => at(moment, { _tag: "Returned", registrant, call, ...(failure === undefined ? {} : { failure }) })
const status = (moment: number, registrant: string, status: string, claim?: { lease: bigint; revision: bigint }) =>
  at(moment, { _tag: "Status", registrant, status, ...(claim === undefined ? {} : { claim }) })
const subscribed = (moment: number, subscriber = "s") =>
  at(moment, { _tag: "Subscribed", subscriber, service: "orders" })
const set = (moment: number, revision: bigint, owners: ReadonlyArray<string>, live = true, subscriber = "s") =>
  at(moment, {
    _tag: "Emitted",
    subscriber,
    set: { revision, live, contents: new Map(owners.map((owner) => [owner, content(owner)])) }
  })
const change = (moment: number, change: "Added" | "Updated" | "Removed", id: string, subscriber = "c") =>
  at(moment, { _tag: "Changed", subscriber, change, id, content: content(id) })
const quiet = (moment: number) => at(moment, { _tag: "Quiet" })
const left = (moment: number, keys: ReadonlyArray<string>, leases: ReadonlyArray<string>) =>
  at(moment, { _tag: "Left", keys, leases })
const mended = (moment: number, count: number) => at(moment, { _tag: "Mended", count })

/** Two registrants and two subscribers survive an outage in which their leases expire. The history is correct. */
const good: History = [
  subscribed(0),
  subscribed(0, "c"),
  set(5, 1n, []),
  called(10, "a", "register"),
  called(10, "b", "register"),
  put(20, 2n, "a"),
  set(21, 2n, ["a"]),
  change(21, "Added", "a"),
  status(22, "a", "Registered", { lease: 7n, revision: 2n }),
  returned(22, "a", "register"),
  put(30, 3n, "b"),
  set(31, 3n, ["a", "b"]),
  change(31, "Added", "b"),
  status(32, "b", "Registered", { lease: 7n, revision: 3n }),
  returned(32, "b", "register"),
  began(1000, { cuts: true }),
  set(1100, 3n, ["a", "b"], false),
  status(3000, "a", "Recovering"),
  status(3000, "b", "Recovering"),
  healed(5000),
  gone(5010, 4n, "a"),
  gone(5010, 5n, "b"),
  set(5500, 5n, []),
  change(5500, "Removed", "a"),
  change(5500, "Removed", "b"),
  put(6000, 6n, "a", { lease: 8n }),
  set(6001, 6n, ["a"]),
  change(6001, "Added", "a"),
  status(6002, "a", "Registered", { lease: 8n, revision: 6n }),
  put(6500, 7n, "b", { lease: 9n }),
  set(6501, 7n, ["a", "b"]),
  change(6501, "Added", "b"),
  status(6502, "b", "Registered", { lease: 9n, revision: 7n }),
  quiet(8000),
  called(8010, "a", "release"),
  put(8020, 8n, "a", { lease: 8n, status: "draining" }),
  gone(8030, 9n, "a"),
  set(8031, 9n, ["b"]),
  change(8031, "Removed", "a"),
  returned(8040, "a", "release"),
  called(8050, "b", "release"),
  gone(8060, 10n, "b"),
  returned(8070, "b", "release"),
  set(8071, 10n, []),
  change(8071, "Removed", "b"),
  at(8080, { _tag: "Unsubscribed", subscriber: "s" }),
  at(8080, { _tag: "Unsubscribed", subscriber: "c" }),
  left(8090, [], []),
  mended(8091, 0)
]

const sorted = (history: History): History => [...history].sort((a, b) => a.at - b.at)
const without = (history: History, ...moments: ReadonlyArray<number>): History =>
  history.filter(({ at }) => !moments.includes(at))
const broken = (history: History, more: Partial<Promised> = {}): ReadonlyArray<Rule> => [
  ...new Set(check(sorted(history), { ...promised, ...more }).map(({ rule }) => rule))
]

/** Delays all entries from a time on. */
const later = (history: History, from: number, by: number): History =>
  history.map((entry) => entry.at >= from ? { ...entry, at: entry.at + by } : entry)

/** A history that breaks each rule. */
const wrong: Record<Rule, { readonly history: History; readonly promised?: Partial<Promised> }> = {
  ordered: { history: [...good, set(7000, 6n, ["a"]), set(7001, 7n, ["a", "b"])] },
  atomic: { history: [...good, set(7000, 7n, ["a", "b", "ghost"]), set(7001, 7n, ["a", "b"])] },
  "never smaller": { history: [...good, set(1050, 3n, [])] },
  unique: {
    history: [...good, change(7000, "Updated", "a"), change(7001, "Updated", "a"), change(7002, "Updated", "a")]
  },
  resumable: { history: [...good, at(7000, { _tag: "Ended", subscriber: "other", failure: "DiscoveryRefused" })] },
  reliable: { history: without(good, 6501) },
  converged: {
    history: [
      ...later(without(good, 5500, 6001, 6501), 8000, 12_000),
      set(15_000, 7n, ["a", "b"])
    ]
  },
  "says stale": { history: without(good, 1100) },
  "live is true": {
    history: [subscribed(0), put(1, 2n, "a"), set(2, 2n, ["a"]), gone(100, 3n, "a"), set(4000, 3n, [])]
  },
  leased: { history: [...good, put(7000, 71n, "c", { lease: 0n })] },
  "one owner": { history: [put(10, 2n, "a"), put(20, 3n, "a", { owner: "b" })] },
  "registered is true": { history: [...good, status(7000, "a", "Registered", { lease: 1n, revision: 6n })] },
  "status is true": { history: without(good, 3000), promised: { silence: 1, ttl: 1, slack: 100 } },
  back: { history: without(good, 6000, 6001, 6002) },
  "no gap": { history: good, promised: { keeps: true } },
  "silent after release": { history: [...good, put(9500, 11n, "a"), gone(9501, 12n, "a")] },
  returns: { history: without(good, 8040) },
  "gone when released": { history: [...without(good, 8030), gone(9900, 9n, "a")] },
  "nothing left": { history: [...good, left(9000, [key("a")], [])] },
  "nothing mended": { history: [...good, mended(9000, 1)] }
}

describe("check", () => {
  it("check returns no violation for a correct history", () => {
    assert.deepEqual(check(good, promised), [])
  })

  for (const rule of rules) {
    it(`check detects a history that breaks "${rule}"`, () => {
      const { history, promised } = wrong[rule]
      assert.ok(broken(history, promised).includes(rule), String(broken(history, promised)))
    })
  }

  // What a rule must accept: the other side of its bound.
  it("check accepts a lower revision in another life of etcd, but not in the same one", () => {
    const lives: History = [
      subscribed(0),
      put(1, 2n, "a"),
      put(2, 3n, "b"),
      set(3, 3n, ["a", "b"]),
      replaced(100, 1),
      put(110, 2n, "b", { epoch: 1 }),
      set(120, 3n, ["a", "b"], false),
      set(130, 2n, ["b"])
    ]
    assert.deepEqual(broken(lives), [])
    assert.deepEqual(broken(lives.filter(({ _tag }) => _tag !== "Replaced")), ["ordered"])
  })

  it("check does not count the keys of a restored snapshot twice", () => {
    const plain = put(14, 4n, "c", { lease: 0n })
    const before: History = [
      called(1, "a", "register"),
      put(2, 2n, "a"),
      returned(3, "a", "register"),
      called(10, "a", "release"),
      gone(11, 3n, "a"),
      returned(12, "a", "release"),
      plain,
      at(15, { _tag: "Operated", epoch: 0, revision: 4n }),
      replaced(9000, 1)
    ]
    const again: History = [put(9001, 2n, "a", { epoch: 1 }), { ...plain, at: 9002, epoch: 1 } as Entry]
    assert.deepEqual(broken([...before, ...again]), [])
    assert.deepEqual(broken([...before, put(9001, 2n, "a", { epoch: 1, lease: 8n })]), ["silent after release"])
    assert.deepEqual(broken([...before, put(9002, 5n, "c", { epoch: 1, lease: 0n })]), ["leased"])
  })

  it("check accepts an end that a fault explains, and a set that is late because the process was frozen", () => {
    const refused = [
      ...good,
      began(6900, { refuses: true }, 2),
      at(7000, { _tag: "Ended", subscriber: "x", failure: "DiscoveryRefused" }),
      healed(7100, 2)
    ]
    assert.deepEqual(broken(refused as History), [])
    const late = without(good, 1100).map((entry) => entry._tag === "FaultBegan" ? { ...entry, freezes: true } : entry)
    assert.deepEqual(broken(late), [])
  })

  it("check accepts a release within its time, and no later one", () => {
    const slow = later(good, 8040, 2500)
    assert.deepEqual(broken(slow), [])
    assert.deepEqual(broken(later(good, 8040, 4000)), ["returns"])
  })

  it("check reports a takeover and an ended registration only if they are not promised", () => {
    const taken: History = [
      called(1, "a", "register"),
      put(10, 2n, "a"),
      returned(11, "a", "register"),
      called(12, "z", "register", "a"),
      put(20, 3n, "a", { owner: "z" }),
      status(21, "a", "Superseded"),
      returned(22, "z", "register")
    ]
    assert.deepEqual(broken(taken), ["one owner", "back"])
    assert.deepEqual(broken(taken, { takeover: true }), ["back"])
    assert.deepEqual(broken(taken, { takeover: true, robbed: true }), [])
  })

  it("check accepts a transaction over many instances as one set only", () => {
    const txn = (sets: History): History => [subscribed(0), put(10, 2n, "a"), put(10, 2n, "b"), ...sets]
    assert.deepEqual(broken(txn([set(11, 2n, ["a", "b"])])), [])
    assert.deepEqual(broken(txn([set(11, 2n, ["a"]), set(12, 2n, ["a", "b"])])), ["never smaller"])
  })

  it("check ignores values that are not instances", () => {
    const odd = (id: string, text: string, revision: bigint): Entry =>
      at(5, { _tag: "Wrote", epoch: 0, revision, key: key(id), value: text, lease: 7n })
    assert.deepEqual(
      broken([
        subscribed(0),
        odd("a", "{}", 2n),
        odd("b", "no JSON", 3n),
        odd("c", JSON.stringify({ id: "other", endpoints: ["x:1"] }), 4n),
        odd("d", JSON.stringify({ endpoints: [] }), 5n),
        set(10, 5n, [])
      ]),
      []
    )
  })

  it("figuresOf measures from the end of the last fault until all clients have converged", () => {
    assert.deepEqual(figuresOf(good, promised), { converged: [500], back: [1000, 1500] })
  })
})

describe("History", () => {
  it("History is unchanged after encoding and decoding as lines", () => {
    const said = good.filter(({ _tag }) => _tag !== "Wrote")
    assert.deepEqual(said.map((entry) => fromLine(toLine(entry))), said)
  })
})
