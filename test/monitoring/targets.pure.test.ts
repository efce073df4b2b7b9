import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { InstanceSet, type ServiceInstance } from "../../mod.ts"
import { groupsOf, type Query } from "../../src/monitoring/targets.ts"

const all: Query = { services: new Set(), statuses: new Set(), scheme: undefined }

const instance = (members: Partial<ServiceInstance<unknown>> = {}): ServiceInstance<unknown> => ({
  id: "a",
  name: "orders",
  metadata: {},
  endpoints: ["http://10.0.0.5:8080"],
  weight: 1,
  status: "up",
  ...members
})

const groups = (instances: ReadonlyArray<ServiceInstance<unknown>>, query: Partial<Query> = {}) =>
  groupsOf([["orders", InstanceSet.fromInstances(instances)]], { ...all, ...query })

const targets = (endpoints: ReadonlyArray<string>, query: Partial<Query> = {}) =>
  groups([instance({ endpoints })], query).flatMap(({ targets }) => targets)

describe("targets of Prometheus", () => {
  it("groupsOf makes one group of each instance, with its members as meta labels", () => {
    const found = groups([
      instance({
        id: "b",
        version: "1.2.3",
        zone: "eu-1a",
        weight: 0.5,
        status: "draining",
        endpoints: ["grpc://10.0.0.6:9000", "https://b.example"],
        metadata: { team: "checkout", shard: 7, "metrics.path": "/m", nested: {} }
      }),
      instance()
    ])
    assert.deepEqual(found, [
      {
        targets: ["10.0.0.5:8080"],
        labels: {
          __meta_etcd_service: "orders",
          __meta_etcd_id: "a",
          __meta_etcd_status: "up",
          __meta_etcd_weight: "1",
          __meta_etcd_endpoint: "http://10.0.0.5:8080",
          __scheme__: "http"
        }
      },
      {
        targets: ["b.example:443"],
        labels: {
          __meta_etcd_service: "orders",
          __meta_etcd_id: "b",
          __meta_etcd_status: "draining",
          __meta_etcd_version: "1.2.3",
          __meta_etcd_zone: "eu-1a",
          __meta_etcd_weight: "0.5",
          __meta_etcd_endpoint: "https://b.example",
          __meta_etcd_metadata_metrics_path: "/m",
          __meta_etcd_metadata_shard: "7",
          __meta_etcd_metadata_team: "checkout",
          __scheme__: "https"
        }
      }
    ])
  })

  it("groupsOf takes the first HTTP endpoint, or the first one of the requested scheme", () => {
    const endpoints = ["grpc://10.0.0.5:9000", "http://10.0.0.5:8080", "https://10.0.0.5:8443"]
    assert.deepEqual(targets(endpoints), ["10.0.0.5:8080"])
    assert.deepEqual(targets(endpoints, { scheme: "grpc" }), ["10.0.0.5:9000"])
    assert.deepEqual(targets(endpoints, { scheme: "tcp" }), [])
    assert.deepEqual(targets(["http://[2001:db8::1]:80/api"]), ["[2001:db8::1]:80"])
  })

  it("groupsOf omits an instance whose endpoint is not an address", () => {
    for (
      const endpoint of [
        "",
        "http://",
        "http://:80",
        "no url",
        "tcp://10.0.0.5:9000",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://a b:80"
      ]
    ) assert.deepEqual(targets([endpoint]), [], endpoint)
    // Nothing of a URL besides host and port reaches the target.
    assert.deepEqual(targets(["http://user:secret@10.0.0.5:8080/x?y#z"]), ["10.0.0.5:8080"])
    for (const hostName of ["a/b", "a%2fb", "a_b,c", "${x}", "a;b", "*"]) {
      for (const target of targets([`tcp://${hostName}:80`], { scheme: "tcp" })) {
        assert.match(target, /^[a-z0-9._-]+:\d+$/i)
      }
    }
  })

  it("groupsOf bounds the number and the length of labels, and writes no label twice", () => {
    const metadata = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`key-${index}`, "v"]))
    const [many] = groups([instance({ metadata })])
    assert.equal(Object.keys(many?.labels ?? {}).filter((name) => name.startsWith("__meta_etcd_metadata_")).length, 64)
    const long = "x".repeat(1025)
    const [one] = groups([
      instance({ version: long, metadata: { long, [long]: "x", "a.b": "first", "a-b": "other", a_b: "third" } })
    ])
    const labels = one?.labels ?? {}
    assert.equal(labels["__meta_etcd_version"], undefined)
    assert.deepEqual(Object.entries(labels).filter(([name]) => name.includes("metadata")), [
      ["__meta_etcd_metadata_a_b", "other"]
    ])
  })

  it("groupsOf lets metadata set only labels of metadata", () => {
    const [group] = groups([
      instance({
        metadata: { __address__: "evil:1", __scheme__: "file", __param_x: "y", job: "other", 'é\n"': "z" }
      })
    ])
    assert.deepEqual(
      Object.keys(group?.labels ?? {}).filter((name) => !name.startsWith("__meta_etcd_") && name !== "__scheme__"),
      []
    )
    for (const name of Object.keys(group?.labels ?? {})) assert.match(name, /^[a-zA-Z_][a-zA-Z0-9_]*$/)
    assert.equal(group?.labels["__scheme__"], "http")
  })

  it("groupsOf keeps the requested services and statuses", () => {
    const set = InstanceSet.fromInstances([instance(), instance({ id: "b", status: "down" })])
    const named = (query: Partial<Query>) =>
      groupsOf([["orders", set], ["users", set]], { ...all, ...query })
        .map(({ labels }) => `${labels["__meta_etcd_service"]}/${labels["__meta_etcd_id"]}`)
    assert.deepEqual(named({}), ["orders/a", "orders/b", "users/a", "users/b"])
    assert.deepEqual(named({ services: new Set(["users"]) }), ["users/a", "users/b"])
    assert.deepEqual(named({ statuses: new Set(["down"]) }), ["orders/b", "users/b"])
  })
})
