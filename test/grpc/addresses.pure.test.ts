import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { InstanceSet } from "../../mod.ts"
import { resolutionOf } from "../../src/grpc/addresses.ts"

const rules = { schemes: ["grpc", "http"], zone: undefined, minLocal: 1 }

/** The addresses of one instance with these endpoints. */
const addressesOf = (...endpoints: ReadonlyArray<string>) =>
  resolutionOf(
    InstanceSet.fromInstances([{ id: "a", name: "orders", endpoints, metadata: {}, weight: 1, status: "up" }]),
    rules
  )
    .addresses.map(({ host, port }) => `${host} ${port}`)

describe("resolutionOf", () => {
  it("resolutionOf skips an endpoint that is not an address, whatever another process wrote", () => {
    const hostile = [
      "grpc://a b:80",
      "grpc://[::1%25eth0]:80",
      "grpc:///x",
      "grpc://",
      "grpc:a:1",
      "grpc://a:0",
      "grpc://a:99999",
      "grpc://a\u0000b:1",
      "grpc",
      "//a:1"
    ]
    for (const endpoint of hostile) {
      assert.deepEqual(addressesOf(endpoint), [], endpoint)
      assert.deepEqual(addressesOf(endpoint, "grpc://b:1"), ["b 1"], endpoint)
      assert.deepEqual(addressesOf(endpoint, "http://c"), ["c 80"], endpoint)
    }
  })

  it("resolutionOf takes the first endpoint of the best scheme, in any case", () => {
    assert.deepEqual(addressesOf("http://a:1", "GRPC://B:2", "grpc://c:3"), ["B 2"])
    assert.deepEqual(addressesOf("grpc://[::1]:2"), ["::1 2"])
  })

  it("resolutionOf quotes no long endpoint in its note", () => {
    const instances = [{
      id: "a",
      name: "orders",
      endpoints: [`tcp://${"a".repeat(100_000)}`],
      metadata: {},
      weight: 1,
      status: "up" as const
    }]
    const { note } = resolutionOf(InstanceSet.fromInstances(instances), rules)
    assert.match(note, /no endpoint with grpc, http: a \(tcp:\/\/a+…\)$/)
    assert.ok(note.length < 500, `${note.length} characters`)
  })

  it("resolutionOf takes 150,000 instances", () => {
    const instances = Array.from({ length: 150_000 }, (_, index) => ({
      id: `${index}`,
      name: "orders",
      endpoints: ["grpc://a:1"],
      metadata: {},
      weight: 1,
      status: "up" as const
    }))
    assert.equal(resolutionOf(InstanceSet.fromInstances(instances), rules).addresses.length, instances.length)
  })
})
