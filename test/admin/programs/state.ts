// A program for the test of Deno's permissions: reads the state of a cluster without `etcd3`, then its users with it.
import { Effect } from "effect"
import process from "node:process"
import { Auth, Maintenance, Members } from "../../../src/admin/mod.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"

const [endpoint = ""] = process.argv.slice(2)

/** Keeps the process awake; Effect does not. */
const awake = setInterval(() => {}, 1000)

await Effect.gen(function* () {
  const members = yield* Members.list
  const { version } = yield* Maintenance.status(endpoint)
  const alarms = yield* Maintenance.alarms
  console.log(members.length, version, alarms.length)
  const users = yield* Effect.result(Auth.userList)
  console.log(users._tag === "Success" ? users.success.length : users.failure.message)
}).pipe(Effect.provide(EtcdGrpc.layer({ endpoints: [endpoint] })), Effect.runPromise)
clearInterval(awake)
