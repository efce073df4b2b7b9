/**
 * `etcd-discovery register`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Option from "effect/Option"
import { Connection } from "../connection.ts"
import { durationFlag, flags, given, optionsOf } from "../instance.ts"
import { library } from "../load.ts"
import { Json, printJson, printLine } from "../output.ts"
import { reachable } from "../reachable.ts"
import * as Target from "../target.ts"

export const register = Command.make(
  "register",
  {
    service: Target.service,
    ...flags,
    drain: durationFlag("drain", "How long to publish draining before the key is removed [default: 0 seconds]"),
    format: Target.format
  },
  Effect.fnUntraced(function* ({ drain, format, service, ...flags }) {
    const { registerService } = yield* library
    const { keyspace } = yield* Connection
    // A registration waits for etcd. Read once first, so that the command fails at once if etcd does not answer. The
    // user may lack this permission.
    yield* Effect.catchReason(
      reachable(keyspace.servicePrefix(service)),
      "EtcdError",
      "PermissionDenied",
      () => Effect.void
    )
    const target = yield* Target.serviceOf(service, format)
    const registration = yield* registerService(target, { ...optionsOf(flags), ...given({ drain }) })
    const { instance, key } = registration
    const lease = Option.match(yield* registration.leaseId, { onNone: () => "none", onSome: (id) => id.toString(16) })
    yield* (yield* Json) ?
      printJson({ key, lease, instance }) :
      printLine(`registered ${key} under lease ${lease}; Ctrl-C deregisters it`)
    return yield* registration.awaitFailure
  }, Effect.scoped)
).pipe(
  Command.withDescription("Register an instance until Ctrl-C or SIGTERM"),
  Command.withExamples([
    {
      command: "etcd-discovery register orders --endpoint http://10.0.0.5:8080 --zone a --metadata shard=3",
      description: "Registers the instance, and deregisters it at the end"
    }
  ])
)
