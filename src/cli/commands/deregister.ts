/**
 * `etcd-discovery deregister`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { Connection } from "../connection.ts"
import { load } from "../load.ts"
import { Json, printJson, printLine } from "../output.ts"
import * as Target from "../target.ts"

export const deregister = Command.make(
  "deregister",
  { service: Target.service, id: Target.id, format: Target.format },
  Effect.fnUntraced(function* ({ format, id, service }) {
    const Operator = yield* load(() => import("../../registry/operator.ts"))
    const { keyspace: { namespace } } = yield* Connection
    const { key, revision } = yield* Operator.deregister(yield* Target.serviceOf(service, format), id, { namespace })
    yield* (yield* Json) ? printJson({ key, revision }) : printLine(`deleted ${key} at revision ${revision}`)
  })
).pipe(
  Command.withDescription("Delete the key of an instance without an owner, such as one written by hand"),
  Command.withExamples([
    {
      command: "etcd-discovery deregister orders static-1",
      description: "Refused if the key has a lease: its owner would register it again"
    }
  ])
)
