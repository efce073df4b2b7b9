/**
 * A contender in a process of its own: takes the lock, writes its key under `/written/<who>` while it believes to hold it,
 * and releases, again and again, until the end of its input.
 *
 * Arguments: endpoint, name, who, TTL in seconds, `guarded` or `unguarded` (writes with or without the fence).
 */
import { Deferred, Effect, Schedule } from "effect"
import process from "node:process"
import { Lock } from "../../../src/coordination/mod.ts"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"

const [endpoint = "", name = "", who = "", ttl = "", mode = ""] = process.argv.slice(2)

const main = Effect.gen(function* () {
  const etcd = yield* Etcd
  const ended = yield* Deferred.make<void>()
  process.stdin.on("end", () => Deferred.doneUnsafe(ended, Effect.void)).resume()

  const write = (held: Lock.Held) =>
    etcd.txn({
      ...(mode === "guarded" ? { compare: [held.fence] } : {}),
      then: [{ _tag: "Put", request: { key: `/written/${who}`, value: held.key } }]
    }).pipe(Effect.andThen(Effect.sleep("20 millis")))
  const work = (held: Lock.Held) =>
    Effect.andThen(Effect.sync(() => console.log(`holds ${held.revision}`)), Effect.repeat(write(held), { times: 9 }))
  const turn = Lock.withLock(name, { ttl: `${Number(ttl)} seconds` })(work).pipe(
    Effect.catch((error) => Effect.sync(() => console.log(error.message))),
    // Avoids a tight loop of turns that fail at once.
    Effect.andThen(Effect.sleep("5 millis"))
  )
  yield* Effect.raceFirst(Effect.repeat(turn, Schedule.forever), Deferred.await(ended))
  console.log("ended")
})

await Effect.runPromise(main.pipe(Effect.provide(EtcdGrpc.layer({ endpoints: endpoint.split(",") })), Effect.scoped))
