/**
 * `etcd-discovery drain`, `undrain` and `weight`: edits by an operator to a running instance (R12).
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import type { Edit, Edited, Outcome } from "../../registry/operator.ts"
import { Connection } from "../connection.ts"
import { CommandFailed, exitCodes } from "../failure.ts"
import { load } from "../load.ts"
import { Json, printJson, printLine } from "../output.ts"
import * as Target from "../target.ts"

const target = { service: Target.service, id: Target.id, format: Target.format }

const outcomes: Readonly<Record<Outcome, string>> = {
  kept: "the owner keeps it",
  reverted: "the owner wrote the old value back",
  removed: "the instance has left since",
  unowned: "the key has no owner"
}

const summaryOf = ({ after, before, isChanged, key, outcome, revision }: Edited): string => {
  if (!isChanged) return `${key} is already ${after.status} with weight ${after.weight}`
  const changes = [
    ...(before.status === after.status ? [] : [`status ${before.status} → ${after.status}`]),
    ...(before.weight === after.weight ? [] : [`weight ${before.weight} → ${after.weight}`])
  ]
  return `${key}: ${changes.join(", ")} at revision ${revision}; ${outcomes[outcome]}`
}

const apply = Effect.fnUntraced(function* (
  { format, id, service }: { readonly service: string; readonly id: string; readonly format: Target.Format },
  edit: Edit
) {
  const Operator = yield* load(() => import("../../registry/operator.ts"))
  const { keyspace: { namespace } } = yield* Connection
  const edited = yield* Operator.edit(yield* Target.serviceOf(service, format), id, edit, { namespace })
  const { after, before, isChanged, key, leaseId, outcome, revision } = edited
  yield* (yield* Json) ?
    printJson({ key, lease: leaseId.toString(16), revision, changed: isChanged, before, after, outcome }) :
    printLine(summaryOf(edited))
  if (outcome === "reverted") {
    return yield* new CommandFailed({
      message: `${JSON.stringify(key)} is unchanged: its owner does not adopt edits. ` +
        "Change the instance in the program that registers it.",
      exitCode: exitCodes.conflict
    })
  }
})

export const drain = Command.make("drain", target, (target) => apply(target, { status: "draining" })).pipe(
  Command.withDescription("Take an instance out of traffic, until undrain or a restart of its process"),
  Command.withExamples([
    { command: "etcd-discovery drain orders orders-7f3c", description: "Consumers send it no new calls" }
  ])
)

export const undrain = Command.make("undrain", target, (target) => apply(target, { status: "up" })).pipe(
  Command.withDescription("Put a drained instance back into traffic"),
  Command.withExamples([
    { command: "etcd-discovery undrain orders orders-7f3c", description: "Its status follows its health again" }
  ])
)

export const weight = Command.make(
  "weight",
  {
    ...target,
    weight: Argument.Finite("weight").pipe(
      Argument.withDescription("The share of the traffic relative to other instances, 0 to 1000000; 0 means none")
    )
  },
  ({ weight, ...target }) => apply(target, { weight })
).pipe(
  Command.withDescription("Change the weight of an instance, until a restart of its process"),
  Command.withExamples([
    { command: "etcd-discovery weight orders orders-7f3c 0.5", description: "Half the traffic of an instance with 1" },
    {
      command: "etcd-discovery weight helloworld 7f3c 50 --format kratos",
      description: "The weight in the metadata of kratos"
    }
  ])
)
