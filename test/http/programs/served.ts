// Serves HTTP on a free port, registers there and stays: to be killed.
import { Config, Effect } from "effect"
import { createServer } from "node:http"
import { registerService, Registry, runMain } from "../../../mod.ts"

const program = Effect.gen(function* () {
  const id = yield* Config.String("INSTANCE_ID")
  const server = createServer((_, response) => void response.end(id))
  const port = yield* Effect.callback<number>((resume) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
  const registration = yield* registerService("orders", { id, endpoints: [`http://127.0.0.1:${port}`] })
  console.log(`serving ${registration.key}`)
  return yield* registration.awaitFailure
})

runMain(program.pipe(Effect.scoped, Effect.provide(Registry.layerConfig())))
