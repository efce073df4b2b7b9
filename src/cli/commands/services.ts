/**
 * `etcd-discovery services`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { library } from "../load.ts"
import { Json, printJson, printTable } from "../output.ts"

export const services = Command.make(
  "services",
  {
    prefix: Flag.String("prefix").pipe(
      Flag.withDescription("Only services whose names start with this"),
      Flag.withMetavar("text"),
      Flag.withDefault("")
    )
  },
  Effect.fnUntraced(function* ({ prefix }) {
    const { listServices } = yield* library
    const found = yield* listServices({ prefix })
    if (yield* Json) return yield* printJson({ services: found })
    yield* printTable(["SERVICE", "INSTANCES"], found.map(({ instances, name }) => [name, String(instances)]))
  })
).pipe(
  Command.withDescription("List the services of the namespace and the number of their instances"),
  Command.withExamples([
    { command: "etcd-discovery services", description: "All services" },
    { command: "etcd-discovery services --json", description: '{"services":[{"name":"orders","instances":3}]}' }
  ])
)
