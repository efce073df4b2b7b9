// A fleet of two processes: a migration that runs once, and a worker that runs in one process at a time. The leader
// leaves, and the other process takes over.
//
//     deno run -A examples/singleton.ts
//
import { Console, Deferred, Effect, Exit, Scope } from "effect"
import process from "node:process"
import { runMain } from "../mod.ts"
import { Election, Lock } from "../src/coordination/mod.ts"
import { EtcdGrpc } from "../src/etcd/mod.ts"
import { Compare, Kv, Op, Txn } from "../src/kv/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

/**
 * Migrates the schema to version 2, once. The Txn requires the lock, so a paused process that lost it cannot migrate.
 */
const migrate = (name: string) =>
  Lock.withLock("/example/locks/migration")((held) =>
    Effect.gen(function* () {
      const { succeeded } = yield* Kv.txn(Txn.make({
        if: [held.fence, Compare.absent("/example/schema/2")],
        then: [Op.put("/example/schema/2", name)]
      }))
      yield* Console.log(succeeded ? "the schema is migrated" : "the schema is migrated already")
    })
  )

/** A process of the fleet. Its worker runs while the process leads. */
const start = Effect.fnUntraced(function* (name: string) {
  const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent))
  const leads = yield* Deferred.make<void>()
  yield* migrate(name)
  const worker = Console.log(`${name} leads and works`).pipe(
    Effect.andThen(Deferred.succeed(leads, undefined)),
    Effect.andThen(Effect.never)
  )
  yield* Effect.forkIn(Election.whileLeader("/example/elections/worker", name)(worker), scope)
  return { leads: Deferred.await(leads), stop: Scope.close(scope, Exit.void) }
})

const main = Effect.gen(function* () {
  const first = yield* start("a")
  yield* first.leads
  const second = yield* start("b")
  yield* first.stop
  yield* second.leads
  yield* second.stop
  yield* Kv.delete("/example/schema/2")
})

runMain(main.pipe(Effect.scoped, Effect.provide(EtcdGrpc.layer({ endpoints }))))
