/**
 * `etcd-discovery changes`
 *
 * @module
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Stream from "effect/Stream"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type * as InstanceSetModule from "../../registry/InstanceSet.ts"
import type { Change } from "../../registry/model/InstanceSet.ts"
import { library } from "../load.ts"
import { Json, printEach, printJson, printLine, Screen, type Style, styled } from "../output.ts"
import * as Target from "../target.ts"
import { type View, views } from "../views.ts"

/** A change, and the revision of the set that contains it. */
interface Found {
  readonly service: string
  readonly revision: bigint
  readonly change: Change<unknown>
}

const signs: Readonly<Record<Change["_tag"], readonly [sign: string, style: Style]>> = {
  Added: ["+", "green"],
  Updated: ["~", "yellow"],
  Removed: ["-", "red"]
}

/** The members that differ between two versions of an instance. */
const differences = (before: ServiceInstance<unknown>, after: ServiceInstance<unknown>): string => {
  const members = ["status", "weight", "version", "zone", "endpoints", "metadata"] as const
  return members.flatMap((member) => {
    const [from, to] = [before[member], after[member]].map((value) => JSON.stringify(value) ?? "none")
    return from === to ? [] : [`${member} ${from} → ${to}`]
  }).join(", ")
}

const detailOf = (change: Change<unknown>): string =>
  change._tag === "Updated" ?
    differences(change.previous, change.instance) :
    `${change.instance.status} ${change.instance.endpoints.join(" ")}`

/** The changes from one view to the next. */
const changesBetween = (
  { diff, fromInstances }: typeof InstanceSetModule,
  before: View | undefined,
  after: View
): ReadonlyArray<Found> => {
  const found: Array<Found> = []
  for (const service of new Set([...before?.sets.keys() ?? [], ...after.sets.keys()])) {
    const from = before?.sets.get(service)
    // The view of all services omits a service without keys.
    const to = after.sets.get(service) ?? fromInstances<unknown>([], after.revision)
    if (from === to) continue
    for (const change of diff(from, to)) found.push({ service, revision: to.revision, change })
  }
  return found
}

const timeNow = Effect.map(Clock.currentTimeMillis, (millis) => new Date(millis).toISOString())

const printAsJson = ({ change, revision, service }: Found): Effect.Effect<void> =>
  Effect.flatMap(timeNow, (time) => {
    const previous = change._tag === "Updated" ? { previous: change.previous } : {}
    const kind = change._tag.toLowerCase()
    return printJson({ time, revision, service, change: kind, instance: change.instance, ...previous })
  })

const printAsText = ({ change, revision, service }: Found): Effect.Effect<void> =>
  Effect.flatMap(timeNow, (time) => {
    const [sign, style] = signs[change._tag]
    const subject = `${service}/${change.instance.id}`
    return printLine(styled(style, `${time.slice(11, 19)}  ${revision}  ${sign} ${subject}  ${detailOf(change)}`))
  })

export const changes = Command.make(
  "changes",
  {
    service: Argument.optional(Target.service),
    format: Target.format,
    initial: Flag.Boolean("initial").pipe(
      Flag.withDescription("First print the existing instances as added"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ format, initial, service }) {
    const { InstanceSet } = yield* library
    const json = (yield* Json) || !(yield* Screen).isTerminal
    const found = Stream.mapAccum(
      yield* views(service, format),
      (): View | undefined => undefined,
      (before, view): readonly [View, ReadonlyArray<Found>] => [
        view,
        before === undefined && !initial ? [] : changesBetween(InstanceSet, before, view)
      ]
    )
    yield* printEach(found, json ? printAsJson : printAsText)
  })
).pipe(
  Command.withDescription("Print each change of a service, or of all of them, as it happens"),
  Command.withExamples([
    { command: "etcd-discovery changes orders", description: '12:03:04  118  ~ orders/a  status "up" → "draining"' },
    { command: "etcd-discovery changes --json", description: "All services, one JSON object per line" }
  ])
)
