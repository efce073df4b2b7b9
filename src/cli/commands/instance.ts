/**
 * `etcd-discovery instance`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Inspected } from "../../registry/inspect.ts"
import { Connection } from "../connection.ts"
import { load } from "../load.ts"
import { type Cell, Json, printJson, printTable, statusCell, styled } from "../output.ts"
import * as Target from "../target.ts"
import { textOf } from "../values.ts"

const jsonOf = ({ createRevision, instance, key, lease, modRevision, value, version }: Inspected): unknown => ({
  key,
  ...(Result.isSuccess(instance) ? { instance: instance.success } : { rejected: instance.failure }),
  lease: Option.getOrNull(Option.map(lease, ({ id, seconds }) => ({
    id: id.toString(16),
    ...Option.getOrElse(Option.map(seconds, ({ granted, left }) => ({ ttl: granted, left })), () => ({}))
  }))),
  createRevision,
  modRevision,
  version,
  value: textOf(value)
})

const leaseText = (lease: Inspected["lease"]): Cell =>
  Option.match(lease, {
    onNone: () => styled("yellow", "none; the key stays until it is deleted"),
    onSome: ({ id, seconds }) =>
      `${id.toString(16)}, ${
        Option.match(seconds, {
          onNone: () => "time left unknown",
          onSome: ({ granted, left }) => `${left} s left of ${granted} s`
        })
      }`
  })

const rowsOf = (found: Inspected): ReadonlyArray<ReadonlyArray<Cell>> => {
  const { createRevision, instance, key, lease, modRevision, value, version } = found
  const decoded: ReadonlyArray<ReadonlyArray<Cell>> = Result.match(instance, {
    onFailure: (reason) => [["rejected", styled("red", reason)]],
    onSuccess: ({ endpoints, metadata, status, version, weight, zone }) => [
      ["status", statusCell(status)],
      ["weight", String(weight)],
      ["endpoints", endpoints.join(" ")],
      ["version", version ?? "-"],
      ["zone", zone ?? "-"],
      ["metadata", JSON.stringify(metadata)]
    ]
  })
  return [
    ["key", key],
    ...decoded,
    ["lease", leaseText(lease)],
    ["created", `at revision ${createRevision}`],
    ["written", `at revision ${modRevision}, write number ${version}`],
    ["value", textOf(value)]
  ]
}

export const instance = Command.make(
  "instance",
  { service: Target.service, id: Target.id, format: Target.format },
  Effect.fnUntraced(function* ({ format, id, service }) {
    const { inspect } = yield* load(() => import("../../registry/inspect.ts"))
    const { keyspace: { namespace } } = yield* Connection
    const found = yield* inspect(yield* Target.serviceOf(service, format), id, { namespace })
    if (yield* Json) return yield* printJson(jsonOf(found))
    yield* printTable([], rowsOf(found))
  })
).pipe(
  Command.withDescription("Show everything that etcd stores about one instance, and why consumers reject it"),
  Command.withExamples([
    { command: "etcd-discovery instance orders orders-7f3c", description: "Value, lease, time left, revisions" }
  ])
)
