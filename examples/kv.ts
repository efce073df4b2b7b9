// Keys and values of etcd: typed values, a transaction, a lease and a watch.
//
//     deno run -A examples/kv.ts        ETCD_ENDPOINTS: another etcd than the local one
//
import { Console, Deferred, Effect, Option, Schema, Stream } from "effect"
import process from "node:process"
import { runMain } from "../mod.ts"
import { EtcdGrpc } from "../src/etcd/mod.ts"
import { Compare, Kv, Lease, Op, Txn } from "../src/kv/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// A prefix with typed values. A plain string is a key with values of text.
const Job = Schema.Struct({ command: Schema.NonEmptyString, runAt: Schema.Date })
const jobs = Kv.prefix("/example-kv/jobs/", Job)
const workers = Kv.prefix("/example-kv/workers/")

const describe = (event: Kv.Event<string>): string => {
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
  // The state, and then every change, across disconnects and restarts of etcd.
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

  // A value that the schema refuses fails before anything is sent.
  const refused = yield* Effect.flip(Kv.put(backup, { command: "", runAt: new Date() }))
  yield* Console.log(refused.message)

  // Reads and writes. Starts over if another client has written in between.
  const later = yield* Kv.update(backup, (job) => ({
    command: "pg_dump",
    runAt: new Date(Option.match(job, { onNone: () => 0, onSome: ({ runAt }) => runAt.getTime() + 3_600_000 }))
  }))
  yield* Console.log(
    `${later.value.command} is put off to ${later.value.runAt.toISOString()}, version ${later.version}`
  )

  // The worker's key exists until this scope closes: heartbeats keep its lease, closing the scope revokes it.
  yield* Effect.scoped(Effect.gen(function* () {
    const lease = yield* Lease.make("10 seconds")
    yield* Kv.put(workers.key("w1"), "w1", { lease })
    // Takes the job if nobody has changed it: all operations or none.
    const taken = yield* Kv.txn(
      Txn.make({
        if: [Compare.modRevision(backup).equals(later.revision), Compare.exists(workers.key("w1"))],
        then: [Op.delete(backup), Op.put("/example-kv/running", "w1", { lease }), Op.count(jobs)],
        else: [Op.get("/example-kv/running")]
      })
    )
    if (taken.succeeded) {
      const [, , remaining] = taken.results // a number, from Op.count
      yield* Console.log(`w1 has the job, ${remaining} remaining`)
    }
  }))
  yield* Deferred.await(left)
  yield* Console.log(`running: ${yield* Kv.exists("/example-kv/running")}, ${yield* Kv.deletePrefix(jobs)} job deleted`)
})

runMain(main.pipe(Effect.scoped, Effect.provide(EtcdGrpc.layer({ endpoints }))))
