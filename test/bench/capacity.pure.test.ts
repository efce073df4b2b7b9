import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { type Fleet, predict } from "../../bench/capacity.ts"

const is = {
  baseCores: 0,
  baseMegabytes: 10,
  microsPerRenewal: 100,
  bytesPerRenewal: 40,
  microsPerEvent: 10,
  bytesPerEvent: 300,
  microsPerProgress: 0,
  bytesPerProgress: 0,
  microsPerWrite: 1000,
  kilobytesPerInstance: 5,
  kilobytesPerWatcher: 1,
  kilobytesPerConnection: 40
}
const fleet: Fleet = {
  processes: 100,
  instances: 1000,
  lease: "own",
  ttl: 15,
  consumers: 200,
  followed: 5,
  services: 10,
  changes: 4
}

describe("predict", () => {
  it("predict counts renewals, watchers and events as docs/capacity.md describes", () => {
    const { requests, ...load } = predict(fleet, is)
    assert.ok(requests >= 204)
    assert.deepEqual(load, {
      renewals: 200,
      watchers: 2000,
      events: 404,
      kilobytesOut: 129.2,
      cores: (200 * 100 + 404 * 10 + 4 * 1000) / 1e6,
      megabytes: 10 + 5 + 2 + 4
    })
  })

  it("predict counts one renewal per process if its instances share a lease", () => {
    assert.equal(predict({ ...fleet, lease: "shared" }, is).renewals, 20)
  })

  it("predict counts a progress request every ten seconds on each stream without events", () => {
    assert.equal(predict({ ...fleet, changes: 0 }, is).requests, 200 + 10)
  })
})
