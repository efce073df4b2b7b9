import { Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import { registerService } from "../../../mod.ts"
import { eachSharedEtcd, etcdctl } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import {
  assertNothingLeft,
  awaitStatus,
  eventuallyNothingLeft,
  freshNamespace,
  keysIn,
  observer,
  processAt,
  quiet,
  statusesOf
} from "./support.ts"

const count = 250

describe("many registrations of one process", () => {
  eachSharedEtcd((server) => {
    for (const lease of ["own", "shared"] as const) {
      live(
        `${count} registrations at once are claimed and released, each under its key (${lease} lease, R13)`,
        () =>
          Effect.gen(function* () {
            const namespace = freshNamespace()
            const inProcess = yield* processAt(server().endpoint, { namespace })
            const scope = yield* Scope.make()
            const registrations = yield* Effect.forEach(
              Array.from({ length: count }, (_, index) => `i${String(index).padStart(3, "0")}`),
              (id) =>
                inProcess(
                  registerService("orders", { id, endpoints: [`http://${id}:1`], lease, startupTimeout: "2 minutes" })
                ),
              { concurrency: "unbounded" }
            ).pipe(Scope.provide(scope))
            const shown = yield* keysIn(server(), namespace)
            assert.deepEqual(shown.map(({ key }) => key), registrations.map(({ key }) => key))
            assert.equal(new Set(shown.map(({ lease }) => lease)).size, lease === "own" ? count : 1)
            for (const [index, { instance, status }] of registrations.entries()) {
              assert.equal(JSON.parse(shown[index]?.value ?? "").id, instance.id)
              const now = yield* status.get
              assert.deepEqual(
                now._tag === "Registered" && { leaseId: now.leaseId, revision: now.revision },
                { leaseId: shown[index]?.lease, revision: shown[index]?.revision }
              )
            }
            yield* Scope.close(scope, Exit.void)
            yield* assertNothingLeft(server(), namespace)
          }).pipe(Effect.provide(quiet))
      )
    }

    live(
      "one that leaves a shared lease takes only its own key, and a revoked one brings all back (R13)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const inProcess = yield* processAt(server().endpoint, { namespace })
          const register = (id: string) =>
            inProcess(registerService("orders", { id, endpoints: [`http://${id}:1`], lease: "shared" }))
          const leaving = yield* Scope.make()
          const staying = yield* Scope.make()
          yield* Scope.provide(register("a"), leaving)
          const b = yield* Scope.provide(register("b"), staying)
          const c = yield* Scope.provide(register("c"), staying)
          yield* Scope.close(leaving, Exit.void)
          const left = yield* keysIn(server(), namespace)
          assert.deepEqual(left.map(({ key }) => key), [b.key, c.key])
          const [{ lease = 0n } = {}] = left
          const statuses = yield* statusesOf(b)
          yield* etcdctl(server(), "lease", "revoke", lease.toString(16))
          yield* statuses.until(({ _tag }) => _tag === "Recovering", { since: 0 })
          yield* statuses.until((status) => status._tag === "Registered" && status.leaseId !== lease)
          yield* awaitStatus(c, "Registered")
          const back = yield* keysIn(server(), namespace)
          assert.deepEqual(back.map(({ key }) => key), [b.key, c.key])
          assert.equal(new Set(back.map(({ lease }) => lease)).size, 1)
          yield* Scope.close(staying, Exit.void)
          yield* eventuallyNothingLeft(server(), namespace)
        }).pipe(Effect.provide(quiet))
    )
  })
})

describe("an operator's Txn that keeps the lease", () => {
  eachSharedEtcd((server) => {
    live(
      "draining and a weight are adopted, and last across the loss of the lease (R12)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const etcd = yield* observer(server())
          const inProcess = yield* processAt(server().endpoint, { namespace })
          const registration = yield* inProcess(registerService("orders", { id: "a", endpoints: ["http://a:1"] }))
          const { key } = registration
          const { leaseId } = yield* awaitStatus(registration, "Registered")
          const { kvs: [kv] } = yield* etcd.range({ key })
          assert.ok(kv)
          const text = new TextDecoder().decode(kv.value).replace(`"weight":1`, `"weight":5`).replace(
            `"up"`,
            `"draining"`
          )
          const { header, succeeded } = yield* etcd.txn({
            compare: [{ target: "mod", key, result: "equal", value: kv.modRevision }],
            then: [{ _tag: "Put", request: { key, value: text, lease: kv.lease } }]
          })
          assert.ok(succeeded)
          yield* awaitStatus(registration, "Draining")
          assert.deepEqual([registration.instance.status, registration.instance.weight], ["draining", 5])
          // Adopted without another write.
          assert.deepEqual((yield* keysIn(server(), namespace)).map(({ revision }) => revision), [header.revision])
          const statuses = yield* statusesOf(registration)
          yield* etcdctl(server(), "lease", "revoke", leaseId.toString(16))
          yield* statuses.until(({ _tag }) => _tag === "Recovering", { since: 0 })
          yield* statuses.until(({ _tag }) => _tag === "Draining")
          assert.deepEqual((yield* keysIn(server(), namespace)).map(({ value }) => value), [text])
          yield* registration.update({ version: "2" })
          const { status, version, weight } = JSON.parse((yield* keysIn(server(), namespace))[0]?.value ?? "")
          assert.deepEqual({ status, version, weight }, { status: "draining", version: "2", weight: 5 })
        }).pipe(Effect.scoped, Effect.provide(quiet))
    )
  })
})
