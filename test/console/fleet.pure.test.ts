import { HashMap } from "effect"
import assert from "node:assert/strict"
import { it } from "node:test"
import { Fleet, maxSamples, stateOf, summaryOf } from "../../src/console/Fleet.ts"
import { Freshness } from "../../src/etcd/Freshness.ts"
import * as Catalog from "../../src/registry/discovery/Catalog.ts"
import { InvalidInstance } from "../../src/registry/model/Codec.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import * as InstanceSet from "../../src/registry/model/InstanceSet.ts"

const instance = (id: string, more: Partial<ServiceInstance> = {}): ServiceInstance => ({
  id,
  name: "orders",
  metadata: {},
  endpoints: [`http://${id}:80`],
  weight: 1,
  status: "up",
  ...more
})

const setOf = (instances: ReadonlyArray<ServiceInstance>, rejected: Readonly<Record<string, string>> = {}) =>
  InstanceSet.make({
    byId: HashMap.fromIterable(instances.map((one) => [one.id, one] as const)),
    revision: 1n,
    freshness: Freshness.Live(),
    rejected: HashMap.fromIterable(
      Object.entries(rejected).map(([id, detail]) =>
        [id, { key: `/services/orders/${id}`, error: new InvalidInstance({ detail }) }] as const
      )
    ),
    held: new Map(),
    history: new InstanceSet.History(),
    sequence: 0
  })

const catalogOf = (revision: bigint, set?: InstanceSet.InstanceSet) =>
  Catalog.make({
    sets: set === undefined ? HashMap.empty() : HashMap.make(["orders", set]),
    revision,
    freshness: Freshness.Live(),
    rejected: HashMap.empty()
  })

/** The entries of a fleet, oldest first, in one line each. */
const entries = (fleet: Fleet): ReadonlyArray<string> =>
  fleet.entries.map(({ detail, event, id, revision }) => `${revision} ${id} ${event}: ${detail}`).reverse()

it("Fleet adds no changes for the first catalog", () => {
  const fleet = new Fleet("/services/")
  fleet.apply(catalogOf(5n, setOf([instance("a")])), 0)
  assert.deepEqual(entries(fleet), [])
  assert.equal(fleet.lastChange("orders"), undefined)
})

it("Fleet lists registrations, changes, rejections and departures in order", () => {
  const fleet = new Fleet("/services/")
  const a = instance("a")
  fleet.apply(catalogOf(1n), 0)
  fleet.apply(catalogOf(2n, setOf([instance("a", { version: "1.0" })])), 1)
  fleet.apply(catalogOf(3n, setOf([instance("a", { version: "1.1", weight: 2, metadata: { team: "x" } })])), 2)
  fleet.apply(catalogOf(4n, setOf([], { a: "the value is not JSON" })), 3)
  fleet.apply(catalogOf(5n, setOf([a])), 4)
  fleet.apply(catalogOf(6n, setOf([a], { b: "the value is not JSON" })), 5)
  fleet.apply(catalogOf(7n), 6)
  assert.deepEqual(entries(fleet), [
    "2 a registered: 1.0, http://a:80",
    "3 a changed: weight 1 → 2, version 1.0 → 1.1, metadata team none → x",
    "4 a rejected: not an instance: the value is not JSON",
    "5 a accepted: http://a:80",
    "6 b rejected: not an instance: the value is not JSON",
    "7 a left: was up; its key is gone",
    "7 b left: was rejected; its key is gone"
  ])
  assert.equal(fleet.lastChange("orders"), 6)
})

it("Fleet keeps at most 1000 changes", () => {
  const fleet = new Fleet("/services/")
  fleet.apply(catalogOf(1n), 0)
  fleet.apply(catalogOf(2n, setOf(Array.from({ length: 1500 }, (_, index) => instance(`i${index}`)))), 1)
  assert.equal(fleet.entries.length, 1000)
})

it("Fleet keeps a bounded number of samples and drops a service without instances", () => {
  const fleet = new Fleet("/services/")
  fleet.apply(catalogOf(1n, setOf([instance("a"), instance("b", { status: "draining" })])), 0)
  fleet.sample()
  assert.deepEqual(fleet.samplesOf("orders"), [1, 1])
  fleet.apply(catalogOf(2n), 1)
  assert.deepEqual(fleet.samplesOf("orders"), [1, 0])
  for (let index = 0; index < maxSamples; index++) fleet.sample()
  assert.deepEqual(fleet.samplesOf().length, maxSamples + 1)
  fleet.sample()
  assert.deepEqual(fleet.samplesOf("orders"), [0])
})

it("summaryOf counts states, versions and zones; an instance with weight 0 is off", () => {
  const set = setOf([
    instance("a", { version: "1", zone: "x" }),
    instance("b", { version: "1", weight: 0 }),
    instance("c", { status: "draining" })
  ], { d: "wrong" })
  const { available, counts, total, versions, zones } = summaryOf(set)
  assert.deepEqual(counts, { up: 1, off: 1, starting: 0, draining: 1, down: 0, rejected: 1 })
  assert.deepEqual([available, total, versions.get("1"), zones.get("x")], [1, 4, 2, 1])
  assert.equal(stateOf(instance("b", { weight: 0 })), "off")
})
