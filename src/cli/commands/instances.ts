/**
 * `etcd-discovery instances`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { CommandFailed, exitCodes } from "../failure.ts"
import { library } from "../load.ts"
import { type Cell, Json, printable, printJson, printNote, printTable, statusCell } from "../output.ts"

export const header = ["ID", "STATUS", "WEIGHT", "VERSION", "ZONE", "ENDPOINTS"] as const

/** An instance as a row of a table. */
export const rowOf = ({ endpoints, id, status, version, weight, zone }: ServiceInstance): ReadonlyArray<Cell> => [
  id,
  statusCell(status),
  String(weight),
  version ?? "-",
  zone ?? "-",
  endpoints.join(" ")
]

/** A set as JSON. */
export const jsonOfSet = (service: string, set: InstanceSet): unknown => ({
  service,
  revision: set.revision,
  instances: set.instances,
  rejected: set.rejected.map(({ error, key }) => ({ key, reason: error.detail }))
})

/** Says on the standard error which keys of a set are no instances. */
export const noteRejected = (set: InstanceSet): Effect.Effect<void> =>
  Effect.forEach(
    set.rejected,
    ({ error, key }) => printNote(`rejected ${printable(key)}: ${error.detail}`),
    { discard: true }
  )

/** Fails if a service has no keys at all. */
export const unknownService = (service: string): CommandFailed =>
  new CommandFailed({
    message: `there is no service ${JSON.stringify(service)}: it has no keys. ` +
      "List the services with etcd-discovery services, and check --namespace.",
    exitCode: exitCodes.notFound
  })

export const instances = Command.make(
  "instances",
  { service: Argument.String("service").pipe(Argument.withDescription("The name of the service")) },
  Effect.fnUntraced(function* ({ service }) {
    const { getInstances } = yield* library
    const set = yield* getInstances(service)
    if (set.size === 0 && set.rejected.length === 0) return yield* unknownService(service)
    if (yield* Json) return yield* printJson(jsonOfSet(service, set))
    yield* printTable(header, set.instances.map(rowOf))
    yield* noteRejected(set)
  })
).pipe(
  Command.withDescription("List the instances of a service"),
  Command.withExamples([
    { command: "etcd-discovery instances orders", description: "The instances of orders" },
    { command: "etcd-discovery instances orders --json", description: "The same with metadata, as JSON" }
  ])
)
