// Against the originals, on the same etcd: go-kit's Registrar and Instancer, etcd's endpoint manager and its resolver.
import { Effect, Option, type Schema, Scope } from "effect"
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { goKit, grpcNaming } from "../../src/interop/mod.ts"
import * as Service from "../../src/registry/model/Service.ts"
import { discover, getInstances, registerService } from "../../mod.ts"
import { goBinary, programs, whyNoGo } from "../../tools/go.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { type Program, runProgram } from "../harness/program.ts"
import { observer, recorded, registryAt } from "../registry/registration/support.ts"

const peer = goBinary(join(programs, "peer.go"))
const skip = existsSync(peer) ? false : `no Go programs: ${whyNoGo() ?? "`deno task go` builds them"}`

describe("the originals", () => {
  eachSharedEtcd((server) => {
    const start = (...args: ReadonlyArray<string>) =>
      runProgram({ file: peer, runtime: "native", args: [server().endpoint, ...args] })

    /** Waits for further output of a program. */
    const lines = (program: Program) => {
      let next = 0
      return (wanted: string) => {
        let found = 0
        return program.awaitLine((line, index) => {
          found = index
          return index >= next && line === wanted
        }).pipe(
          Effect.mapError(({ message }) => new Error(`waiting for ${JSON.stringify(wanted)}: ${message}`)),
          Effect.tap(() => Effect.sync(() => void (next = found + 1)))
        )
      }
    }

    live(
      "go-kit's Instancer reads our registrations, and we read those of its Registrar",
      () =>
        Effect.gen(function* () {
          const service = Service.make("/services/go-kit", { codec: goKit })
          const watcher = yield* start("gokit-watch", "/services/go-kit/")
          // Its two first lines are printed at the same time, in any order.
          yield* watcher.awaitLine("watching")
          const instancer = lines(watcher)
          yield* instancer("instances []")

          const sets = yield* recorded(discover(service))
          const ours = yield* Scope.make()
          const registration = yield* registerService(service, {
            endpoints: ["http://10.0.0.1:8080"],
            ttl: "10 seconds"
          })
            .pipe(Scope.provide(ours))
          assert.equal(registration.key, "/services/go-kit/10.0.0.1:8080")
          yield* instancer(`instances ["http://10.0.0.1:8080"]`)

          const registrar = yield* start("gokit-register", "/services/go-kit/10.0.0.2:8080", "http://10.0.0.2:8080")
          yield* registrar.awaitLine("registered")
          yield* instancer(`instances ["http://10.0.0.1:8080","http://10.0.0.2:8080"]`)
          const both = yield* sets.until(({ size }) => size === 2)
          assert.deepEqual(both.rejected, [])
          assert.deepEqual(Option.getOrUndefined(both.get("10.0.0.2:8080")), {
            id: "10.0.0.2:8080",
            name: "/services/go-kit",
            metadata: {},
            endpoints: ["http://10.0.0.2:8080"],
            weight: 1,
            status: "up"
          })

          yield* registrar.endInput
          yield* registrar.awaitLine("deregistered")
          const left = yield* sets.until(({ size }) => size === 1)
          assert.deepEqual(left.endpoints, ["http://10.0.0.1:8080"])
          yield* instancer(`instances ["http://10.0.0.1:8080"]`)

          yield* Scope.close(ours, yield* Effect.exit(Effect.void))
          yield* instancer("instances []")
          yield* sets.until(({ size }) => size === 0)
        }).pipe(Effect.provide(registryAt(server().endpoint))),
      { skip }
    )

    live(
      "etcd's naming manager and resolver read our registrations, and we read the manager's",
      () =>
        Effect.gen(function* () {
          const target = "foo/bar/my-service"
          const service = Service.make(target, { codec: grpcNaming({ scheme: "grpc" }) })
          const watch = lines(yield* start("naming-watch", target))
          yield* watch("watching")

          const sets = yield* recorded(discover(service))
          const ours = yield* Scope.make()
          const metadata: Schema.Json = { zone: "a&b", ports: [1, 2] }
          const registration = yield* registerService(service, { endpoints: ["grpc://10.0.0.1:9000"], metadata }).pipe(
            Scope.provide(ours)
          )
          assert.equal(registration.key, "foo/bar/my-service/10.0.0.1:9000")
          yield* watch(`resolved ["10.0.0.1:9000"]`)
          // Go's encoder sorts the names and writes & so.
          const endpoint = `{"Addr":"10.0.0.1:9000","Metadata":{"ports":[1,2],"zone":"a\\u0026b"}}`
          yield* watch(`endpoints {"foo/bar/my-service/10.0.0.1:9000":${endpoint}}`)

          const key = `${target}/theirs`
          const manager = yield* start("naming-add", target, key, "10.0.0.2:9000", `{"v":"<1>"}`)
          yield* manager.awaitLine("added")
          yield* watch(`resolved ["10.0.0.1:9000","10.0.0.2:9000"]`)
          const both = yield* sets.until(({ size }) => size === 2)
          assert.deepEqual(both.instances, [
            {
              id: "10.0.0.1:9000",
              name: target,
              metadata,
              endpoints: ["grpc://10.0.0.1:9000"],
              weight: 1,
              status: "up"
            },
            {
              id: "theirs",
              name: target,
              metadata: { v: "<1>" },
              endpoints: ["grpc://10.0.0.2:9000"],
              weight: 1,
              status: "up"
            }
          ])
          const { kvs } = yield* (yield* observer(server())).range({ key })
          assert.deepEqual(kvs.map(({ lease, value }) => [lease, new TextDecoder().decode(value)]), [
            [0n, `{"Op":0,"Addr":"10.0.0.2:9000","Metadata":{"v":"\\u003c1\\u003e"}}`]
          ])

          yield* manager.endInput
          yield* manager.awaitLine("deleted")
          const left = yield* sets.until(({ size }) => size === 1)
          assert.deepEqual(left.endpoints, ["grpc://10.0.0.1:9000"])

          yield* Scope.close(ours, yield* Effect.exit(Effect.void))
          yield* watch("resolved []")
          assert.equal((yield* getInstances(service)).size, 0)
        }).pipe(Effect.provide(registryAt(server().endpoint))),
      { skip }
    )
  })
})
