/**
 * Members that are replaced, one after the other, while a process is connected (`syncEvery`).
 *
 * @module
 */
import { Effect, Fiber, Layer, Logger, Option, Stream } from "effect"
import assert from "node:assert/strict"
import { discoverChanges, registerService, Registry } from "../../../mod.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { type EtcdServer, startCluster, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"

const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => {
    lines.push(String(Array.isArray(message) ? message.join(" ") : message))
  })
  /** Waits until the client uses exactly these endpoints. */
  const knows = (endpoints: ReadonlyArray<string>) =>
    eventually(Effect.suspend(() => {
      const last = lines.findLast((line) => line.startsWith("the endpoints of etcd are now "))?.slice(30) ?? ""
      const expected = [...endpoints].sort().join(", ")
      return last.split(", ").sort().join(", ") === expected ? Effect.void : Effect.fail(`${last}, not ${expected}`)
    }))
  return { lines, layer: Logger.layer([logger]), knows }
}

describe("EtcdGrpc syncEvery", () => {
  live(
    "syncEvery keeps a registration and its consumers while every member is replaced, the only configured one first",
    () =>
      Effect.gen(function* () {
        const cluster = yield* startCluster(3)
        const [first, ...others] = cluster.members as [EtcdServer, ...ReadonlyArray<EtcdServer>]
        const log = logged()
        const registry = yield* Layer.build(
          Registry.layerEtcd({ endpoints: [first.endpoint], syncEvery: "500 millis" }).pipe(Layer.provide(log.layer))
        )
        yield* log.knows(cluster.endpoints)

        yield* Effect.gen(function* () {
          const registration = yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.1:80"] })
          const leaseId = yield* registration.leaseId
          const changes: Array<string> = []
          const following = yield* discoverChanges("orders").pipe(
            Stream.runForEach((change) => Effect.sync(() => changes.push(`${change._tag} ${change.instance.id}`))),
            Effect.forkScoped({ startImmediately: true })
          )
          for (const member of [first, ...others]) {
            const newcomer = yield* cluster.add
            yield* log.knows([...new Set([first.endpoint, ...cluster.endpoints, newcomer.endpoint])])
            yield* cluster.remove(member)
          }
          yield* log.knows([first.endpoint, ...cluster.endpoints])

          yield* registerService("orders", { id: "b", endpoints: ["http://10.0.0.2:80"] })
          yield* eventually(Effect.suspend(() => changes.length === 2 ? Effect.void : Effect.fail(`${changes}`)))
          assert.deepEqual(changes, ["Added a", "Added b"])
          assert.deepEqual(yield* registration.leaseId, leaseId)
          assert.ok(Option.isSome(leaseId))
          assert.equal((yield* registration.status.get)._tag, "Registered")
          assert.ok(!log.lines.some((line) => line.includes('lost "')), log.lines.join("\n"))
          yield* Fiber.interrupt(following)
        }).pipe(Effect.provide([Layer.succeedContext(registry), log.layer]))
      })
  )

  live(
    "syncEvery does not use the loopback addresses that members advertise to a client on another host",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({
          args: ["--advertise-client-urls", "http://localhost:1,http://10.255.255.1:1"]
        })
        const log = logged()
        // With this name, the client's options do not show loopback.
        const url = server.endpoint.replace("127.0.0.1", "0.0.0.0")
        const etcd = yield* EtcdGrpc.make({ endpoints: [url], syncEvery: "100 millis" }).pipe(Effect.provide(log.layer))
        yield* log.knows([url, "http://10.255.255.1:1"])
        yield* etcd.put({ key: "a", value: "1" })
      })
  )
})
