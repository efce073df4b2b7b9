/**
 * `etcd-discovery instances`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { library } from "../load.ts"
import { Json, printJson, printTable } from "../output.ts"
import * as Target from "../target.ts"
import { header, jsonOfSet, noteRejected, rowOf } from "../view.ts"

export const instances = Command.make(
  "instances",
  { service: Target.service, format: Target.format },
  Effect.fnUntraced(function* ({ format, service }) {
    const { getInstances } = yield* library
    const set = yield* getInstances(yield* Target.serviceOf(service, format))
    if (set.size === 0 && set.rejected.length === 0) return yield* Target.unknownService(service)
    if (yield* Json) return yield* printJson(jsonOfSet(service, set))
    yield* printTable(header, set.instances.map(rowOf))
    yield* noteRejected(set)
  })
).pipe(
  Command.withDescription("List the instances of a service"),
  Command.withExamples([
    { command: "etcd-discovery instances orders", description: "The instances of orders" },
    { command: "etcd-discovery instances orders --json", description: "The same with metadata, as JSON" },
    { command: "etcd-discovery instances helloworld --format kratos", description: "Instances that kratos registered" }
  ])
)
