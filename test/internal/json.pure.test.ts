import { Redacted } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { InstanceSet, InvalidOption } from "../../mod.ts"
import { Compacted, EtcdError, Unavailable } from "../../src/etcd/EtcdError.ts"
import { Freshness } from "../../src/etcd/Freshness.ts"
import { jsonOf } from "../../src/internal/json.ts"

const written = (value: unknown) => JSON.parse(JSON.stringify(value))

describe("toJSON", () => {
  it("jsonOf writes bigints, errors and cycles", () => {
    const cycle: Record<string, unknown> = { id: 7n, cause: new TypeError("broken") }
    cycle["self"] = cycle
    assert.deepEqual(written(jsonOf(cycle)), {
      id: "7",
      cause: { name: "TypeError", message: "broken" },
      self: "[circular]"
    })
  })

  it("JSON.stringify writes an EtcdError with its reason, its message and a cause that has a cycle", () => {
    const cause: Record<string, unknown> = { code: 11n }
    cause["stream"] = cause
    const reason = new Compacted({ detail: "compacted", compactRevision: 42n })
    assert.deepEqual(written(reason), { _tag: "Compacted", detail: "compacted", compactRevision: "42" })
    const error = new EtcdError({ reason, method: "watch", key: "/a", cause })
    assert.deepEqual(written(error), {
      _tag: "EtcdError",
      message: error.message,
      reason: { _tag: "Compacted", detail: "compacted", compactRevision: "42" },
      method: "watch",
      key: "/a",
      cause: { code: "11", stream: "[circular]" }
    })
  })

  it("JSON.stringify writes an InvalidOption, and hides what is redacted", () => {
    const value = { lease: 1n, password: Redacted.make("s3cret") }
    const error = new InvalidOption({ of: "discover", option: "x", value, rule: "it must be a string" })
    assert.equal(JSON.stringify(error).includes("s3cret"), false)
    assert.equal(written(error).value.lease, "1")
  })

  it("JSON.stringify writes an instance set, its changes and a stale freshness", () => {
    const set = InstanceSet.fromInstances(
      [{ id: "a", name: "orders", metadata: {}, endpoints: ["http://a:1"], weight: 1, status: "up" }],
      9n
    )
    assert.equal(written(set).revision, "9")
    assert.deepEqual(written(InstanceSet.diff(undefined, set)).map(({ _tag }: { _tag: string }) => _tag), ["Added"])
    const cause = new EtcdError({ reason: new Unavailable({ detail: "refused" }), method: "watch" })
    assert.equal(written(Freshness.Stale({ since: 1, cause })).cause.message, cause.message)
  })
})
