/**
 * `etcd-discovery agent`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Connection } from "../connection.ts"
import { flags, given } from "../instance.ts"
import { library, load } from "../load.ts"
import { printNote } from "../output.ts"

export const agent = Command.make(
  "agent",
  {
    file: Argument.String("file").pipe(Argument.withDescription("What to register: .yaml, .toml or .json")),
    advertise: flags.advertise,
    lease: Flag.Literals("lease", ["shared", "own"]).pipe(
      Flag.withDescription("One lease for all services, or one for each [default: shared]"),
      Flag.withDefault("shared")
    )
  },
  Effect.fnUntraced(function* ({ advertise, file, lease }) {
    const { Registry } = yield* library
    const Declared = yield* load(() => import("../../declared/Declared.ts"))
    const { readDeclaration } = yield* load(() => import("../../declared/read.ts"))
    const options = given({ advertise })
    const { keyspace } = yield* Connection
    // Report all problems in the file before sending anything.
    const { etcd, namespace = keyspace.namespace } = yield* readDeclaration(file, options, false)
    const running = Layer.effectDiscard(
      Effect.flatMap(
        Declared.register(file, options),
        (registrations) => printNote(`registered ${registrations.map(({ key }) => key).join(", ")}`)
      )
    )
    const registry = Registry.layer({ namespace, lease })
    return yield* etcd === undefined ?
      Layer.launch(Layer.provide(running, registry)) :
      Layer.launch(Layer.provide(running, Registry.layerEtcd({ ...etcd, namespace, lease })))
  })
).pipe(
  Command.withDescription(
    "Register the services that a file declares, with their health checks, until Ctrl-C or SIGTERM"
  ),
  Command.withExamples([
    { command: "etcd-discovery agent /etc/etcd-discovery/services.yaml", description: "All services of a host" }
  ])
)
