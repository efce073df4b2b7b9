/**
 * `etcd-discovery leases`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { Connection } from "../connection.ts"
import { library } from "../load.ts"
import { type Cell, Json, printJson, printTable, styled } from "../output.ts"
import { textOf } from "../values.ts"

/** A lease and its keys in the namespace. */
interface Found {
  readonly id: LeaseId
  /** Missing if the user lacks read permission. */
  readonly time: Option.Option<{ readonly ttl: number; readonly left: number }>
  readonly keys: ReadonlyArray<string>
}

/** Returns the leases of the keys in the namespace. `all` adds the leases without a key there. */
const leasesOf = Effect.fnUntraced(function* (all: boolean) {
  const { Etcd, prefix, rangeAll } = yield* library
  const etcd = yield* Etcd
  const { keyspace } = yield* Connection
  // Reads the values, too: etcd 3.7 omits leases from reads without values.
  const { kvs } = yield* rangeAll(etcd, prefix(keyspace.prefix))
  const keys = new Map<LeaseId, Array<string>>()
  for (const { key, lease } of kvs) {
    if (lease !== 0n) keys.set(lease, [...keys.get(lease) ?? [], textOf(key)])
  }
  if (all) { for (const id of (yield* etcd.leaseLeases).leases) if (!keys.has(id)) keys.set(id, []) }
  return yield* Effect.forEach(
    keys,
    ([id, keys]) =>
      Effect.map(Effect.option(etcd.leaseTimeToLive({ id })), (answer): Found => ({
        id,
        keys,
        time: Option.map(answer, ({ grantedTtl, ttl }) => ({ ttl: grantedTtl, left: ttl }))
      })),
    { concurrency: 16 }
  )
})

const leftCell = ({ time }: Found): Cell =>
  Option.match(time, {
    onNone: () => "unknown",
    onSome: ({ left, ttl }) =>
      left < 0 ? styled("red", "expired") : styled(left * 3 < ttl ? "yellow" : "green", `${left} s`)
  })

export const leases = Command.make(
  "leases",
  {
    all: Flag.Boolean("all").pipe(
      Flag.withDescription("Include leases without a key in the namespace"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ all }) {
    const found = yield* leasesOf(all)
    if (yield* Json) {
      return yield* printJson({
        leases: found.map(({ id, keys, time }) => ({
          id: id.toString(16),
          ...Option.getOrElse(time, () => ({})),
          keys
        }))
      })
    }
    yield* printTable(
      ["LEASE", "TTL", "LEFT", "KEYS"],
      found.map((lease) => [
        lease.id.toString(16),
        Option.match(lease.time, { onNone: () => "unknown", onSome: ({ ttl }) => `${ttl} s` }),
        leftCell(lease),
        lease.keys.join(" ")
      ])
    )
  })
).pipe(
  Command.withDescription("List the leases in the namespace with their time left and their keys"),
  Command.withExamples([
    {
      command: "etcd-discovery leases",
      description: "Shows a lease in yellow when less than a third of its time is left"
    }
  ])
)
