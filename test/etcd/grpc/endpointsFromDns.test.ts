import { Effect, Random } from "effect"
import assert from "node:assert/strict"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { hostsOf, inOrder } from "../../../src/etcd/grpc/endpointsFromDns.ts"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, effect, live } from "../../harness/it.ts"
import { startDns } from "./dnsServer.ts"

const secureName = "_etcd-client-ssl._tcp.example.com"

const srv = (port: number, priority = 0, weight = 1, target = "127.0.0.1") => ({ port, priority, weight, target })

describe("EtcdGrpc.endpointsFromDns", () => {
  live(
    "endpointsFromDns looks up the name for TLS, for plain text, or of one cluster, in the order of priorities",
    () =>
      Effect.gen(function* () {
        const server = yield* startDns({
          "_etcd-client-ssl._tcp.example.com": [srv(2, 20, 1, "b.example.com"), srv(1, 10, 1, "a.example.com")],
          "_etcd-client._tcp.example.com": [srv(3, 0, 1, "c.example.com")],
          "_etcd-client-ssl-blue._tcp.example.com": [srv(4, 0, 1, "d.example.com")]
        })
        const look = (options = {}) => EtcdGrpc.endpointsFromDns("example.com", { servers: [server], ...options })
        assert.deepEqual(yield* look(), ["https://a.example.com:1", "https://b.example.com:2"])
        assert.deepEqual(yield* look({ tls: false }), ["http://c.example.com:3"])
        assert.deepEqual(yield* look({ serviceName: "blue" }), ["https://d.example.com:4"])
      })
  )

  live(
    "endpointsFromDns ignores records without a host name or a port, and repeated ones",
    () =>
      Effect.gen(function* () {
        const server = yield* startDns({
          [secureName]: [
            srv(1, 0, 1, ""),
            srv(0, 0, 1, "a.example.com"),
            srv(1, 0, 1, "u:p@evil"),
            srv(1, 0, 1, "a/b"),
            srv(1, 0, 1, "a b"),
            srv(1, 0, 1, "999.0.0.1"),
            srv(1, 1, 1, "good_1.example.com"),
            srv(1, 2, 1, "GOOD_1.example.com")
          ],
          "_etcd-client._tcp.example.com": [srv(1, 0, 1, "")]
        })
        const look = (options = {}) => EtcdGrpc.endpointsFromDns("example.com", { servers: [server], ...options })
        assert.deepEqual(yield* look(), ["https://good_1.example.com:1"])
        const error = yield* Effect.flip(look({ tls: false }))
        assert.ok(error._tag === "EtcdError" && error.reason._tag === "Unavailable")
        assert.match(error.message, /SRV record/)
      })
  )

  effect("endpointsFromDns returns at most 64 endpoints", () =>
    Effect.sync(() => {
      const records = Array.from(
        { length: 2000 },
        (_, index) => ({ name: `h${index}`, port: 1, priority: 0, weight: 0 })
      )
      assert.deepEqual(hostsOf(records), records.slice(0, 64).map(({ name }) => `${name}:1`))
    }))

  live("endpointsFromDns leads to a cluster", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* startEtcd()
      const server = yield* startDns({
        "_etcd-client._tcp.example.com": [srv(Number(new URL(endpoint).port), 0, 1, "localhost")]
      })
      const endpoints = yield* EtcdGrpc.endpointsFromDns("example.com.", { servers: [server], tls: false })
      const etcd = yield* EtcdGrpc.make({ endpoints })
      yield* etcd.put({ key: "a", value: "1" })
    }))

  for (const answer of ["missing", "fails"] as const) {
    live(
      `endpointsFromDns fails if the name ${answer === "fails" ? "cannot be looked up" : "does not exist"}`,
      () =>
        Effect.gen(function* () {
          const plain = { "_etcd-client._tcp.example.com": [srv(3)] }
          const server = yield* startDns(answer === "fails" ? { ...plain, [secureName]: "fails" } : plain)
          const error = yield* Effect.flip(EtcdGrpc.endpointsFromDns("example.com", { servers: [server] }))
          assert.ok(error._tag === "EtcdError" && error.reason._tag === "Unavailable")
          assert.match(error.message, /SRV records of _etcd-client-ssl._tcp.example.com/)
        })
    )
  }

  live("endpointsFromDns fails if the server does not answer in time", () =>
    Effect.gen(function* () {
      const server = yield* startDns({ [secureName]: "silent" })
      const error = yield* Effect.flip(
        EtcdGrpc.endpointsFromDns("example.com", { servers: [server], timeout: "100 millis" })
      )
      assert.match(error.message, /no answer within 100 ?ms/)
    }))

  for (
    const [domain, options, option] of [
      ["", {}, "domain"],
      ["a b", {}, "domain"],
      ["a/b", {}, "domain"],
      ["example.com", { serviceName: "a.b" }, "serviceName"],
      ["example.com", { timeout: 0 }, "timeout"]
    ] as const
  ) {
    effect(
      `endpointsFromDns refuses ${JSON.stringify([domain, options])} before any I/O`,
      () =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(EtcdGrpc.endpointsFromDns(domain, options))
          assert.ok(error._tag === "InvalidOption")
          assert.deepEqual([error.of, error.option], ["EtcdGrpc.endpointsFromDns", option])
        })
    )
  }

  effect("endpointsFromDns uses a record in proportion to its weight", () =>
    Effect.gen(function* () {
      const records = [1, 3].map((weight) => ({ name: `${weight}`, port: 1, priority: 0, weight }))
      let first = 0
      for (let draw = 0; draw < 4000; draw++) {
        if ((yield* inOrder(records))[0]?.weight === 3) first++
      }
      assert.ok(first > 2850 && first < 3150, `${first} of 4000`)
    }).pipe(Random.withSeed("weights")))
})
