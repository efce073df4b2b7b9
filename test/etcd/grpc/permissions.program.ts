// A program for the test of Deno's permissions: registers, discovers itself, and ends.
import { Effect, Stream } from "effect"
import process from "node:process"
import { discover, registerService, Registry } from "../../../mod.ts"

const [endpoint = ""] = process.argv.slice(2)

/** Keeps the process alive; Effect does not. */
const awake = setInterval(() => {}, 1000)

await Effect.gen(function* () {
  const registration = yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.1:80"] })
  const sets = yield* discover("orders").pipe(Stream.take(1), Stream.runCollect)
  console.log(registration.key, sets[0]?.size)
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })), Effect.runPromise)
clearInterval(awake)
console.log("closed")
