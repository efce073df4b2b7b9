// The program that the bundle tests build: registers, discovers itself, reads the state of the cluster, and ends. It is
// also valid JavaScript, and it uses no top-level `await`, which CommonJS does not have.
import { Effect, Stream } from "effect"
import process from "node:process"
import { discover, registerService, Registry } from "../../mod.ts"
import { Maintenance, Members } from "../../src/admin/mod.ts"
import { EtcdGrpc } from "../../src/etcd/mod.ts"

const endpoint = process.argv.at(-1) ?? ""

/** Keeps the process awake; Effect does not. */
const awake = setInterval(() => {}, 1000)

const main = Effect.gen(function* () {
  const registration = yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.1:80"] })
  const sets = yield* discover("orders").pipe(Stream.take(1), Stream.runCollect)
  console.log(registration.key, sets[0]?.size)
  const members = yield* Members.list
  const { version } = yield* Maintenance.status(endpoint)
  const alarms = yield* Maintenance.alarms
  console.log(members.length, version, alarms.length)
}).pipe(
  Effect.scoped,
  Effect.provide([Registry.layerEtcd({ endpoints: [endpoint] }), EtcdGrpc.layer({ endpoints: [endpoint] })])
)

Effect.runPromise(main).finally(() => clearInterval(awake)).then(() => console.log("closed"))
