import { Effect, Exit, Scope } from "effect"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy, type Proxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"
import { makeAuthority } from "./certificates.ts"

/**
 * Opens clients one after the other and closes each while it connects, each a little later than the last. Closes every
 * tenth one right after a connection was made, which on a busy machine is later than all those times.
 */
const closeWhileConnecting = (proxy: Proxy, options: Omit<EtcdGrpc.Options, "endpoints">, count: number) =>
  Effect.forEach(Array.from({ length: count }, (_, index) => index), (index) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const etcd = yield* EtcdGrpc.make({ ...options, endpoints: [proxy.endpoint] }).pipe(Scope.provide(scope))
      const before = yield* proxy.accepted
      yield* Effect.forkDetach(Effect.ignore(etcd.put({ key: "a", value: "1" })), { startImmediately: true })
      yield* Effect.forkDetach(Effect.ignore(etcd.leaseKeepAlive({ id: 1n })), { startImmediately: true })
      yield* index % 10 === 0 ?
        eventually(Effect.filterOrFail(proxy.accepted, (now) => now > before, () => "no connection"), { every: 1 }) :
        Effect.sleep(index % 40)
      yield* Scope.close(scope, Exit.void)
    }), { concurrency: 20, discard: true })

const awaitNone = (proxy: Proxy) =>
  eventually(Effect.filterOrFail(proxy.connections, (open) => open === 0, (open) => `${open} connections are open`))

describe("EtcdGrpc sockets", () => {
  live("500 clients that close while they connect leave no socket (D11)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      yield* closeWhileConnecting(proxy, {}, 500)
      yield* awaitNone(proxy)
    }))

  live("clients that close during the TLS handshake leave no socket (D11)", () =>
    Effect.gen(function* () {
      const authority = yield* makeAuthority
      const server = yield* startEtcd({ tls: yield* authority.sign("IP:127.0.0.1") })
      const proxy = yield* makeProxy(server)
      yield* closeWhileConnecting(proxy, { tls: { ca: authority.ca } }, 200)
      yield* awaitNone(proxy)
    }))

  live("clients that close while the server is silent leave no socket (D11)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      yield* proxy.blackhole("down")
      yield* closeWhileConnecting(proxy, {}, 50)
      yield* proxy.heal
      yield* awaitNone(proxy)
    }))

  live("a client that gives a silent connection up leaves no socket (D11)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      yield* Effect.scoped(Effect.gen(function* () {
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], requestTimeout: "3 seconds" })
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.leaseKeepAlive({ id })
        yield* proxy.blackhole()
        yield* Effect.flip(etcd.leaseKeepAlive({ id }))
        yield* Effect.flip(etcd.put({ key: "a", value: "1" }))
        yield* proxy.heal
      }))
      yield* awaitNone(proxy)
    }))
})
