import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import assert from "node:assert/strict"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { registerService, Registry } from "../../../mod.ts"
import { eachSharedEtcd, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { pause } from "../../harness/real.ts"
import { randomOf, seed } from "../../harness/seed.ts"
import {
  assertNothingLeft,
  awaitStatus,
  eventuallyNothingLeft,
  freshNamespace,
  observer,
  processAt,
  quiet,
  registryAt
} from "./support.ts"

const a = { id: "a", endpoints: ["http://a:1"] } as const

type Operation = "leaseGrant" | "txn"
type Moment = "before it is sent" | "while it is on its way" | "when its answer has come"

/**
 * An `Etcd` that reports when one operation reaches a step. Before and after sending it stops there; in between it
 * continues.
 */
const gated = (etcd: Etcd, operation: Operation, moment: Moment, reached: Deferred.Deferred<void>): Etcd => {
  const arrive = Deferred.succeed(reached, undefined)
  // Like a missing answer, this ends with the client's own timeout.
  const stuck = Effect.andThen(arrive, Effect.sleep("300 millis"))
  const gate = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
    if (moment === "before it is sent") return Effect.andThen(stuck, effect)
    return moment === "while it is on its way" ? Effect.andThen(arrive, effect) : Effect.tap(effect, () => stuck)
  }
  return operation === "leaseGrant" ?
    { ...etcd, leaseGrant: (request) => gate(etcd.leaseGrant(request)) } :
    { ...etcd, txn: (request) => gate(etcd.txn(request)) }
}

describe("registerService that is interrupted", () => {
  eachSharedEtcd((server) => {
    for (const operation of ["leaseGrant", "txn"] as const) {
      for (const moment of ["before it is sent", "while it is on its way", "when its answer has come"] as const) {
        for (const lease of ["own", "shared"] as const) {
          live(
            `registerService leaves no lease and no key if it is interrupted at its ${operation}, ${moment} (R6, ${lease} lease)`,
            () =>
              Effect.gen(function* () {
                const namespace = freshNamespace()
                const etcd = yield* EtcdGrpc.make({ endpoints: [server().endpoint] })
                const reached = yield* Deferred.make<void>()
                const registry = yield* Layer.build(
                  Layer.provide(
                    Registry.layer({ namespace }),
                    Layer.succeed(Etcd, gated(etcd, operation, moment, reached))
                  )
                )
                const claiming = yield* registerService("orders", { ...a, lease }).pipe(
                  Effect.scoped,
                  Effect.provide(registry),
                  Effect.forkScoped({ startImmediately: true })
                )
                yield* Deferred.await(reached)
                yield* Fiber.interrupt(claiming)
                yield* assertNothingLeft(server(), namespace)
              }).pipe(Effect.provide(quiet))
          )
        }
      }
    }

    live(
      `registerService leaves no lease and no key if it is interrupted at a random time (seed ${seed}) (R6)`,
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const random = randomOf(seed)
          const inProcess = yield* processAt(server().endpoint, { namespace })
          const times: Array<number> = []
          for (let round = 0; round < 3; round++) {
            const warmed = performance.now()
            yield* Effect.scoped(inProcess(registerService("orders", a)))
            times.push(performance.now() - warmed)
          }
          // The fastest of several runs, because a busy machine may be slow once.
          const range = 2 * Math.min(...times)
          let interrupted = 0
          for (let round = 0; round < 60; round++) {
            const after = random() * range
            let completed = false
            const claiming = yield* Effect.forkScoped(
              inProcess(Effect.scoped(
                Effect.andThen(
                  registerService("orders", a),
                  Effect.sync(() => {
                    completed = true
                  })
                ).pipe(Effect.andThen(Effect.never))
              )),
              { startImmediately: true }
            )
            yield* pause(after)
            const startedAt = performance.now()
            yield* Fiber.interrupt(claiming)
            // It waits for nothing that takes as long as startupTimeout, 15 seconds.
            assert.ok(performance.now() - startedAt < 14_000)
            if (!completed) interrupted += 1
          }
          yield* assertNothingLeft(server(), namespace)
          assert.ok(interrupted > 0)
        }).pipe(Effect.provide(quiet))
    )
  })

  live(
    "registerService ends soon if it is interrupted while etcd does not answer, and leaves nothing (R6)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const namespace = freshNamespace()
        const inProcess = yield* processAt(proxy.endpoint, { namespace, requestTimeout: "500 millis" })
        yield* Effect.scoped(inProcess(registerService("orders", { ...a, id: "warm" })))
        for (const direction of ["up", "down", "both"] as const) {
          yield* proxy.blackhole(direction)
          const claiming = yield* Effect.forkScoped(Effect.scoped(inProcess(registerService("orders", a))), {
            startImmediately: true
          })
          yield* pause(100)
          const startedAt = performance.now()
          const exit = yield* Effect.andThen(Fiber.interrupt(claiming), Fiber.await(claiming))
          assert.ok(Exit.hasInterrupts(exit))
          assert.ok(performance.now() - startedAt < 14_000, `${direction}: ${performance.now() - startedAt} ms`)
          yield* proxy.reset
          yield* proxy.heal
          yield* assertNothingLeft(server, namespace)
        }
        // The client still works.
        yield* Effect.scoped(
          Effect.flatMap(inProcess(registerService("orders", a)), (r) => awaitStatus(r, "Registered"))
        )
        yield* eventuallyNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )

  live(
    "registerService registers exactly once if its connection is reset at any byte (R1, R6)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const namespace = freshNamespace()
        const etcd = yield* observer(server)
        for (let bytes = 1; bytes < 1200; bytes += 90) {
          yield* Effect.gen(function* () {
            yield* proxy.resetAfterBytes(bytes, bytes % 2 === 0 ? "up" : "down")
            const registration = yield* registerService("orders", a)
            const { leaseId } = yield* awaitStatus(registration, "Registered")
            // A grant or a claim whose answer was lost is recognised, so there is one lease.
            assert.deepEqual((yield* etcd.leaseLeases).leases, [leaseId], `reset after ${bytes} bytes`)
          }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
          yield* assertNothingLeft(server, namespace)
        }
      }).pipe(Effect.provide(quiet))
  )
})
