// Keys and values of etcd used directly: typed values, a transaction, a lease, and a watcher that sees it all.
//
//     deno run -A examples/kv.ts        ETCD_ENDPOINTS names another etcd than the one on this machine
//
import { Console, Deferred, Effect, Option, Schema, Stream } from "effect"
import process from "node:process"
import { runMain } from "../mod.ts"
import { EtcdGrpc } from "../src/etcd/mod.ts"
import { Compare, Kv, type KvEvent, Lease, Op, Txn } from "../src/kv/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// A prefix and what is kept under it. Keys made from it take and give exactly that; a plain string is a key of text.
const Job = Schema.Struct({ command: Schema.NonEmptyString, runAt: Schema.Date })
const jobs = Kv.prefix("/example-kv/jobs/", Job)
const workers = Kv.prefix("/example-kv/workers/")

const describe = (event: KvEvent<string>): string => {
  switch (event._tag) {
    case "Listed":
      return `${event.relisted ? "listed again" : "listed"}: ${event.entries.length} workers`
    case "Put":
      return `worker ${event.entry.value} came`
    case "Deleted":
      return `worker ${Option.match(event.previous, { onNone: () => event.key, onSome: ({ value }) => value })} left`
    case "Rejected":
      return event.error.message
  }
}

const main = Effect.gen(function* () {
  // What is there, and then every change, over disconnects and restarts of etcd.
  const listening = yield* Deferred.make<void>()
  const left = yield* Deferred.make<void>()
  yield* Kv.watch(workers, { previous: true }).pipe(
    Stream.runForEach((event) =>
      Effect.gen(function* () {
        yield* Console.log(describe(event))
        if (event._tag === "Listed") yield* Deferred.succeed(listening, undefined)
        if (event._tag === "Deleted") yield* Deferred.succeed(left, undefined)
      })
    ),
    Effect.forkScoped
  )
  yield* Deferred.await(listening)

  const backup = jobs.key("backup")
  yield* Kv.put(backup, { command: "pg_dump", runAt: new Date("2026-01-01T02:00:00Z") })
  yield* Kv.put(jobs.key("report"), { command: "report", runAt: new Date("2026-01-01T06:00:00Z") })
  const { entries, revision } = yield* Kv.getPrefix(jobs)
  for (const { key, value } of entries) yield* Console.log(`${key}: ${value.command} at ${value.runAt.toISOString()}`)
  yield* Console.log(`${entries.length} jobs at revision ${revision}`)

  // What the schema does not allow is refused before anything is sent.
  const refused = yield* Effect.flip(Kv.put(backup, { command: "", runAt: new Date() }))
  yield* Console.log(refused.message)

  // Read, change, and write unless somebody else has written meanwhile; then again.
  const later = yield* Kv.update(backup, (job) => ({
    command: "pg_dump",
    runAt: new Date(Option.match(job, { onNone: () => 0, onSome: ({ runAt }) => runAt.getTime() + 3_600_000 }))
  }))
  yield* Console.log(
    `${later.value.command} is put off to ${later.value.runAt.toISOString()}, version ${later.version}`
  )

  // A worker is there as long as this scope is open: heartbeats keep its lease, and closing it revokes the lease.
  yield* Effect.scoped(Effect.gen(function* () {
    const lease = yield* Lease.scoped("10 seconds")
    yield* Kv.put(workers.key("w1"), "w1", { lease })
    // It takes the job if nobody has changed it: all of that, or nothing.
    const taken = yield* Kv.txn(
      Txn.when(Compare.modRevision(backup).equals(later.revision), Compare.exists(workers.key("w1")))
        .then(Op.delete(backup), Op.put("/example-kv/running", "w1", { lease }), Op.count(jobs))
        .otherwise(Op.get("/example-kv/running"))
    )
    if (taken.succeeded) {
      const [, , remaining] = taken.results // a number: that of Op.count
      yield* Console.log(`w1 has the job, ${remaining} remaining`)
    }
  }))
  yield* Deferred.await(left)
  yield* Console.log(`running: ${yield* Kv.exists("/example-kv/running")}, ${yield* Kv.deletePrefix(jobs)} job deleted`)
})

runMain(main.pipe(Effect.scoped, Effect.provide(EtcdGrpc.layer({ endpoints }))))
