import { Effect, Logger } from "effect"
import assert from "node:assert/strict"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { etcdctl, isBefore, startEtcd, versions } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"
import { failureOf, watching } from "./support.ts"

/** The log lines of a program. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => {
    lines.push(String(Array.isArray(message) ? message[0] : message))
  })
  const until = (line: string) =>
    eventually(Effect.suspend(() => lines.includes(line) ? Effect.void : Effect.fail(lines.join("\n"))))
  return { lines, layer: Logger.layer([logger]), until }
}

describe("EtcdGrpc syncEvery", () => {
  live(
    "syncEvery finds the members behind an endpoint, and works on without that endpoint",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const log = logged()
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], syncEvery: "100 millis" }).pipe(
          Effect.provide(log.layer)
        )
        yield* log.until(`the endpoints of etcd are now ${proxy.endpoint}, ${server.endpoint}`)
        const watched = yield* watching(etcd, { key: "a" })
        yield* watched.created
        yield* proxy.refuse
        yield* proxy.reset
        assert.equal((yield* watched.failure).reason._tag, "Unavailable")
        yield* etcd.put({ key: "a", value: "1" })
        assert.equal((yield* etcd.range({ key: "a" })).count, 1n)
        assert.equal(log.lines.filter((line) => line.startsWith("the endpoints of etcd")).length, 1)
      })
  )

  live("a client without syncEvery uses only its own endpoints", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
      yield* etcd.put({ key: "a", value: "1" })
      yield* proxy.refuse
      yield* proxy.reset
      yield* Effect.ignore(etcd.range({ key: "a" }))
      assert.equal((yield* failureOf(etcd.range({ key: "a" }))).reason, "Unavailable")
    }))

  live("syncEvery warns once if etcd refuses the member list", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      for (const command of ["user add root:root", "user grant-role root root", "auth enable"]) {
        yield* etcdctl(server, ...command.split(" "))
      }
      const proxy = yield* makeProxy(server)
      const log = logged()
      yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], syncEvery: "100 millis" }).pipe(Effect.provide(log.layer))
      const warning = "the endpoints do not follow the members of the cluster"
      yield* log.until(warning)
      yield* etcdctl(server, "--user=root:root", "auth", "disable")
      yield* log.until(`the endpoints of etcd are now ${proxy.endpoint}, ${server.endpoint}`)
      assert.equal(log.lines.filter((line) => line === warning).length, 1)
    }), { skip: isBefore(versions[0] ?? "", "3.5.30") && "older versions need no permission for the list" })
})
