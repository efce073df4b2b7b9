import { type Duration, Effect, Fiber, Redacted, Result } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { RangeRequest, RequestOp } from "../../../src/etcd/messages/kv.ts"
import { rangeAll } from "../../../src/etcd/rangeAll.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eachSharedEtcd, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually, freePort } from "../../harness/real.ts"
import { certificates, connectedToFirst, failureOf, text, timed } from "./support.ts"

const put = (key: string): RequestOp => ({ _tag: "Put", request: { key, value: "1" } })

describe("EtcdGrpc calls", () => {
  eachSharedEtcd((server) => {
    const connect = Effect.suspend(() => EtcdGrpc.make({ endpoints: [server().endpoint] }))

    const failing: ReadonlyArray<
      readonly [
        reason: string,
        detail: string,
        method: string,
        key: string | undefined,
        call: (etcd: Etcd) => ReturnType<typeof failureOf<unknown, never>>
      ]
    > = [
      [
        "LeaseNotFound",
        "etcdserver: requested lease not found",
        "put",
        "k",
        (etcd) => failureOf(etcd.put({ key: "k", value: "", lease: 99n }))
      ],
      [
        "LeaseNotFound",
        "etcdserver: requested lease not found",
        "leaseRevoke",
        "63",
        (etcd) => failureOf(etcd.leaseRevoke(99n))
      ],
      [
        "LeaseNotFound",
        "etcdserver: requested lease not found",
        "leaseKeepAlive",
        "63",
        (etcd) => failureOf(etcd.leaseKeepAlive({ id: 99n }))
      ],
      [
        "LeaseExists",
        "etcdserver: lease already exists",
        "leaseGrant",
        "4d2",
        (etcd) =>
          failureOf(Effect.andThen(etcd.leaseGrant({ ttl: 60, id: 1234n }), etcd.leaseGrant({ ttl: 60, id: 1234n })))
      ],
      [
        "InvalidArgument",
        "etcdserver: too large lease TTL",
        "leaseGrant",
        "0",
        (etcd) => failureOf(etcd.leaseGrant({ ttl: 9_000_000_001 }))
      ],
      ["InvalidArgument", "etcdserver: key is not provided", "range", "", (etcd) => failureOf(etcd.range({ key: "" }))],
      [
        "InvalidArgument",
        "etcdserver: mvcc: required revision is a future revision",
        "range",
        "k",
        (etcd) => failureOf(etcd.range({ key: "k", revision: 1_000_000_000n }))
      ],
      [
        "InvalidArgument",
        "etcdserver: duplicate key given in txn request",
        "txn",
        undefined,
        (etcd) => failureOf(etcd.txn({ then: [put("a"), put("a")] }))
      ],
      [
        "InvalidArgument",
        "etcdserver: too many operations in txn request",
        "txn",
        undefined,
        (etcd) => failureOf(etcd.txn({ then: Array.from({ length: 129 }, (_, i) => put(`${i}`)) }))
      ],
      [
        "TooLarge",
        "etcdserver: request is too large",
        "put",
        "k",
        (etcd) => failureOf(etcd.put({ key: "k", value: new Uint8Array(1.6 * 1024 * 1024) }))
      ],
      [
        "InvalidArgument",
        "limit must be a whole number, got 0.5",
        "range",
        "k",
        (etcd) => failureOf(etcd.range({ key: "k", limit: 0.5 }))
      ],
      [
        "InvalidArgument",
        "ttl must be a whole number, got NaN",
        "leaseGrant",
        "0",
        (etcd) => failureOf(etcd.leaseGrant({ ttl: NaN }))
      ],
      [
        "InvalidArgument",
        `lease must fit into 64 bits, got ${2n ** 63n}`,
        "put",
        "k",
        (etcd) => failureOf(etcd.put({ key: "k", value: "", lease: 2n ** 63n }))
      ],
      [
        "InvalidArgument",
        'sort.target must be one of key, version, create, mod, value, got "KEY"',
        "range",
        "k",
        (etcd) =>
          failureOf(etcd.range({ key: "k", sort: { target: "KEY", order: "ascend" } } as unknown as RangeRequest))
      ]
    ]
    for (const [reason, detail, method, key, call] of failing) {
      live(`EtcdGrpc ${method} fails with the reason ${reason} for "${detail}"`, () =>
        Effect.gen(function* () {
          const { endpoint, ...failure } = yield* call(yield* connect)
          assert.deepEqual(failure, { reason, detail, method, key })
          assert.ok(endpoint === undefined || endpoint === server().endpoint)
        }))
    }

    live("range fails with Compacted for a compacted revision", () =>
      Effect.gen(function* () {
        const etcd = yield* connect
        yield* etcd.put({ key: "c", value: "1" })
        const { header } = yield* etcd.put({ key: "c", value: "2" })
        yield* etcd.compact({ revision: header.revision, physical: true })
        const error = yield* Effect.flip(etcd.range({ key: "c", revision: header.revision - 1n }))
        assert.deepEqual({ ...error.reason }, {
          _tag: "Compacted",
          detail: "etcdserver: mvcc: required revision has been compacted",
          compactRevision: 0n
        })
        assert.equal(error.retryable, false)
      }))

    live(
      "range fails with TooLarge for a response over maxReceiveBytes, and rangeAll requests less",
      () =>
        Effect.gen(function* () {
          const etcd = yield* EtcdGrpc.make({ endpoints: [server().endpoint], maxReceiveBytes: 64 * 1024 })
          yield* Effect.forEach(
            Array.from({ length: 100 }, (_, i) => i),
            (i) => etcd.put({ key: `large/${i}`, value: new Uint8Array(5000) }),
            { concurrency: 10 }
          )
          const failure = yield* failureOf(etcd.range(prefix("large/")))
          assert.equal(failure.reason, "TooLarge")
          const { kvs } = yield* rangeAll(etcd, prefix("large/"))
          assert.deepEqual(kvs.map(({ value }) => value.length), Array.from({ length: 100 }, () => 5000))
        })
    )

    live("EtcdGrpc returns keys and values as plain bytes", () =>
      Effect.gen(function* () {
        const etcd = yield* connect
        const key = Uint8Array.of(0x62, 0x00, 0xff)
        const value = Uint8Array.of(0xc3, 0x28, 0x00)
        yield* etcd.put({ key, value })
        const { kvs: [kv] } = yield* etcd.range({ key })
        assert.deepEqual({ key: kv?.key, value: kv?.value }, { key, value })
      }))

    live("etcd handles a grant before a Txn that is sent with it, in most cases", () =>
      Effect.gen(function* () {
        const etcd = yield* connect
        const pair = (key: string) =>
          Effect.gen(function* () {
            const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
            yield* etcd.leaseRevoke(lease)
            const [, put] = yield* Effect.all([
              etcd.leaseGrant({ id: lease, ttl: 60 }),
              Effect.result(etcd.txn({ then: [{ _tag: "Put", request: { key, value: "", lease } }] }))
            ], { concurrency: "unbounded" })
            const outcome = Result.isSuccess(put) ? "put" : put.failure.reason._tag
            const { kvs } = yield* etcd.range({ key })
            assert.equal(kvs.length, outcome === "put" ? 1 : 0)
            return outcome
          })
        const outcomes = yield* Effect.forEach(Array.from({ length: 50 }, (_, index) => `granted/${index}`), pair)
        assert.deepEqual(new Set([...outcomes, "put", "LeaseNotFound"]), new Set(["put", "LeaseNotFound"]))
        assert.ok(outcomes.filter((outcome) => outcome === "put").length > 10, outcomes.join(" "))
      }))

    live("a grant that is interrupted before it is sent grants nothing", () =>
      Effect.gen(function* () {
        const etcd = yield* connect
        yield* etcd.status
        const granting = yield* Effect.forkScoped(etcd.leaseGrant({ id: 4321n, ttl: 60 }), { startImmediately: true })
        granting.interruptUnsafe()
        // etcd commits later calls later.
        yield* Effect.repeat(etcd.put({ key: "interrupted", value: "" }), { times: 3 })
        const { leases } = yield* etcd.leaseLeases
        assert.equal(leases.includes(4321n), false)
      }))

    live("an interrupted call ends at once", () =>
      Effect.gen(function* () {
        const proxy = yield* makeProxy(server())
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], requestTimeout: "1 minute" })
        yield* etcd.status
        yield* proxy.blackhole()
        const fiber = yield* Effect.forkChild(etcd.put({ key: "i", value: "1" }), { startImmediately: true })
        yield* Effect.sleep("100 millis")
        const [, millis] = yield* timed(Fiber.interrupt(fiber))
        // It does not wait for the request timeout of a minute.
        assert.ok(millis < 30_000, `${millis} ms`)
      }))

    live(
      "a closed client fails pending and later calls with Cancelled",
      () =>
        Effect.gen(function* () {
          const proxy = yield* makeProxy(server())
          const pending: Array<Fiber.Fiber<{ readonly reason: string; readonly detail: string }, unknown>> = []
          const etcd = yield* Effect.scoped(Effect.gen(function* () {
            const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], requestTimeout: "1 minute" })
            const { id } = yield* etcd.leaseGrant({ ttl: 60 })
            yield* etcd.leaseKeepAlive({ id })
            yield* proxy.blackhole()
            for (const call of [failureOf(etcd.range({ key: "a" })), failureOf(etcd.leaseKeepAlive({ id }))]) {
              pending.push(yield* Effect.forkDetach(call, { startImmediately: true }))
            }
            yield* Effect.sleep("50 millis")
            return etcd
          }))
          const late = [failureOf(etcd.status), failureOf(etcd.leaseKeepAlive({ id: 1n }))]
          for (const call of [...pending.map(Fiber.join), ...late]) {
            const { detail, reason } = yield* Effect.orDie(call)
            assert.deepEqual({ reason, detail }, { reason: "Cancelled", detail: "client is closed" })
          }
          yield* proxy.heal
        })
    )
  })

  live("rangeAll reads 100,000 keys of 300 bytes at one revision", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], requestTimeout: "30 seconds" })
      const value = "v".repeat(300)
      yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) =>
          etcd.txn({
            then: Array.from({ length: 100 }, (_, j): RequestOp => ({
              _tag: "Put",
              request: { key: `all/${String(i * 100 + j).padStart(6, "0")}`, value }
            }))
          }),
        { concurrency: 8 }
      )
      const { count, header, kvs } = yield* rangeAll(etcd, prefix("all/"))
      assert.deepEqual({ count, revision: header.revision }, { count: 100_000n, revision: 1001n })
      kvs.forEach(({ key }, i) => assert.equal(text(key), `all/${String(i).padStart(6, "0")}`))
      assert.ok(kvs.every(({ value }) => value.length === 300))
    }))

  live(
    "a call finds the working endpoint behind one that refuses and one that is silent",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const silent = yield* makeProxy(server)
        yield* silent.blackhole()
        const refused = `http://127.0.0.1:${yield* freePort}`
        const etcd = yield* EtcdGrpc.make({
          endpoints: [refused, silent.endpoint, server.endpoint],
          // A call that waits for the silent endpoint takes longer than the test may.
          dialTimeout: "10 minutes"
        })
        yield* etcd.put({ key: "a", value: "1" })
        const dialled = yield* silent.accepted
        yield* etcd.put({ key: "a", value: "2" })
        assert.equal(yield* silent.accepted, dialled)
      })
  )

  live(
    "a call without a working endpoint fails with Unavailable within dialTimeout",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const silent = yield* makeProxy(server)
        yield* silent.blackhole()
        const refused = `http://127.0.0.1:${yield* freePort}`
        const fails = (endpoint: string, dialTimeout: Duration.Input) =>
          Effect.gen(function* () {
            const etcd = yield* EtcdGrpc.make({ endpoints: [endpoint], dialTimeout })
            return yield* timed(failureOf(etcd.range({ key: "a" })))
          })
        const [failure, millis] = yield* fails(silent.endpoint, "500 millis")
        assert.deepEqual(failure, {
          reason: "Unavailable",
          detail: "no answer within 500 ms",
          method: "range",
          key: "a",
          endpoint: silent.endpoint
        })
        assert.ok(millis >= 450, `${millis} ms`)
        const [refusal] = yield* fails(refused, "1 minute")
        assert.deepEqual([refusal.reason, refusal.endpoint], ["Unavailable", refused])
        assert.match(refusal.detail, /ECONNREFUSED|refused/i)
      })
  )

  live(
    "an unanswered call fails with DeadlineExceeded, and the next one uses the next endpoint",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const etcd = yield* connectedToFirst(proxy, server, { requestTimeout: "4 seconds" })
        yield* proxy.blackhole()
        const [failure, millis] = yield* timed(failureOf(etcd.status))
        assert.deepEqual([failure.reason, failure.endpoint], ["DeadlineExceeded", proxy.endpoint])
        // The default of the request timeout is 3 seconds.
        assert.ok(millis >= 3990, `${millis} ms`)
        yield* etcd.status
      })
  )

  live("a client works again as soon as etcd is back", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      yield* etcd.put({ key: "a", value: "1" })
      yield* server.kill("SIGKILL")
      const down = yield* Effect.forkChild(Effect.ignore(Effect.forever(Effect.ignore(etcd.status))))
      assert.equal((yield* failureOf(etcd.status)).reason, "Unavailable")
      yield* Effect.sleep("2 seconds")
      yield* server.start
      yield* eventually(etcd.put({ key: "a", value: "2" }))
      yield* Fiber.interrupt(down)
    }))

  live("a loop of failing calls does not flood an endpoint with connections", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
      yield* server.kill("SIGKILL")
      const [, millis] = yield* timed(
        Effect.forever(Effect.ignore(etcd.status)).pipe(Effect.raceFirst(Effect.sleep("1 second")))
      )
      const accepted = yield* proxy.accepted
      // One each 100 ms, and one that checks whether the server uses TLS.
      assert.ok(accepted <= Math.ceil(millis / 100) + 2, `${accepted} connections in ${millis} ms`)
    }))

  live("a thousand calls at once share one connection", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* EtcdGrpc.make({
        endpoints: [proxy.endpoint],
        dialTimeout: "30 seconds",
        requestTimeout: "30 seconds"
      })
      yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) => etcd.put({ key: `${i}`, value: "1" }),
        { concurrency: "unbounded" }
      )
      assert.deepEqual([yield* proxy.connections, yield* proxy.accepted], [1, 2])
    }))

  live("each client of a process has its own connection", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const one = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
      const other = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
      yield* one.status
      yield* other.status
      assert.equal(yield* proxy.connections, 2)
    }))

  live(
    "https accepts exactly the IP addresses and names of the certificate",
    () =>
      Effect.gen(function* () {
        const { ca, cert, key } = yield* certificates("IP:127.0.0.1,DNS:etcd.test")
        const server = yield* startEtcd({ tls: { cert, key } })
        const status = (tls: EtcdGrpc.Tls) =>
          Effect.flatMap(
            EtcdGrpc.make({ endpoints: [server.endpoint], tls, dialTimeout: "30 seconds" }),
            (etcd) => etcd.status
          )
        assert.equal((yield* status({ ca })).version, server.version)
        assert.equal((yield* status({ ca, serverName: "etcd.test" })).version, server.version)
        for (const tls of [{ ca, serverName: "other.test" }, { ca, serverName: "127.0.0.2" }, {}]) {
          const { detail, reason } = yield* failureOf(status(tls))
          assert.equal(reason, "Unavailable")
          assert.match(detail, /certificate|altnames|issuer|TLS|self/i)
        }
        const plain = server.endpoint.replace("https:", "http:")
        const etcd = yield* EtcdGrpc.make({ endpoints: [plain] })
        assert.equal((yield* failureOf(etcd.status)).reason, "Unavailable")
      })
  )

  live("https presents the client's certificate if the server requests one", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* certificates("IP:127.0.0.1")
      const server = yield* startEtcd({ tls: { cert, key, clientCa: ca } })
      const status = (tls: EtcdGrpc.Tls) =>
        Effect.flatMap(
          EtcdGrpc.make({ endpoints: [server.endpoint], tls }),
          (etcd) => etcd.status
        )
      assert.equal((yield* status({ ca, cert, key })).version, server.version)
      assert.equal((yield* failureOf(status({ ca }))).reason, "Unavailable")
    }))

  live("no EtcdError contains the password", () =>
    Effect.gen(function* () {
      const etcd = yield* EtcdGrpc.make({
        endpoints: [`http://127.0.0.1:${yield* freePort}`],
        username: "root",
        password: Redacted.make("s3cret")
      })
      const error = yield* Effect.flip(etcd.status)
      assert.ok(!JSON.stringify(error).includes("s3cret") && !error.message.includes("s3cret"))
    }))
})
