/**
 * `etcd-discovery kv`: raw keys, without a namespace.
 *
 * @module
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import process from "node:process"
import type { Entry, Kv } from "../../kv/mod.ts"
import { CommandFailed, exitCodes } from "../failure.ts"
import { load } from "../load.ts"
import { type Cell, Json, printable, printEach, printJson, printLine, printTable, Screen } from "../output.ts"
import { reachable } from "../reachable.ts"
import { jsonOfValue, textOf } from "../values.ts"

const module_ = load(() => import("../../kv/mod.ts"))

const key = Argument.String("key").pipe(Argument.withDescription("The whole key"))

const isPrefix = Flag.Boolean("prefix").pipe(
  Flag.withDescription("Act on all keys that start with this"),
  Flag.withDefault(false)
)

const noKey = (key: string): CommandFailed =>
  new CommandFailed({
    message: `there is no key ${JSON.stringify(key)}. List keys with etcd-discovery kv ls.`,
    exitCode: exitCodes.notFound
  })

const hex = (lease: bigint): string | null => lease === 0n ? null : lease.toString(16)

const jsonOfEntry = ({ createRevision, key, lease, revision, value, version }: Entry<Uint8Array>): unknown => ({
  key,
  ...jsonOfValue(value),
  revision,
  createRevision,
  version,
  lease: hex(lease)
})

/** Keeps the line breaks of a value on a terminal and escapes every other control character. */
const shownValue = (value: Uint8Array): string => textOf(value).split("\n").map(printable).join("\n")

const get = Command.make(
  "get",
  { key },
  Effect.fnUntraced(function* ({ key }) {
    const { Kv } = yield* module_
    const entry = Option.getOrUndefined(yield* Kv.get(Kv.key(key, Kv.bytes)))
    if (entry === undefined) return yield* noKey(key)
    if (yield* Json) return yield* printJson(jsonOfEntry(entry))
    // Piped output is exact: only a terminal interprets escape sequences.
    yield* Console.log((yield* Screen).isTerminal ? shownValue(entry.value) : textOf(entry.value))
  })
).pipe(
  Command.withDescription("Print the value of a key"),
  Command.withExamples([{ command: "etcd-discovery kv get /app/limit", description: "The value, and a newline" }])
)

/** Reads standard input to its end. */
const standardInput = Effect.promise(async () => {
  const chunks: Array<Uint8Array> = []
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array)
  return new Uint8Array(Buffer.concat(chunks))
})

const put = Command.make(
  "put",
  {
    key,
    value: Argument.String("value").pipe(Argument.withDescription("The value, or - for standard input")),
    revision: Flag.String("if-revision").pipe(
      Flag.withDescription(
        "Write only if the last write of the key has this revision; 0: only if the key does not exist"
      ),
      Flag.withMetavar("number"),
      Flag.filter((text) => /^\d{1,18}$/.test(text), () => "it must be a revision, such as 0 or 118"),
      Flag.optional
    ),
    keepLease: Flag.Boolean("keep-lease").pipe(
      Flag.withDescription("Keep the lease of the key; without this flag the key loses its lease"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ keepLease, key, revision, value }) {
    const { Kv } = yield* module_
    const target = Kv.key(key, Kv.bytes)
    const bytes = value === "-" ? yield* standardInput : new TextEncoder().encode(value)
    const options = keepLease ? { lease: "keep" as const } : { lease: 0n }
    const written = Option.isSome(revision) ?
      yield* Kv.compareAndSet(target, { revision: BigInt(revision.value) }, bytes, options) :
      { succeeded: true as const, revision: yield* Kv.put(target, bytes, options) }
    if (!written.succeeded) {
      const found = Option.match(written.current, {
        onNone: () => "it does not exist",
        onSome: ({ revision }) => `it was last written at revision ${revision}`
      })
      return yield* new CommandFailed({
        message: `cannot put ${JSON.stringify(key)}: ${found}. Read the key again before writing.`,
        exitCode: exitCodes.conflict
      })
    }
    yield* (yield* Json) ?
      printJson({ key, revision: written.revision }) :
      printLine(`wrote ${key} at revision ${written.revision}`)
  })
).pipe(
  Command.withDescription("Write a key"),
  Command.withExamples([
    { command: "etcd-discovery kv put /app/limit 10", description: "Writes the key" },
    {
      command: "etcd-discovery kv put /app/limit 11 --if-revision 118",
      description: "Exits with 6 if another write came first"
    }
  ])
)

const del = Command.make(
  "del",
  { key, isPrefix },
  Effect.fnUntraced(function* ({ isPrefix, key }) {
    const { Kv } = yield* module_
    const deleted = isPrefix ? yield* Kv.deletePrefix(Kv.prefix(key)) : (yield* Kv.delete(key)) ? 1 : 0
    if (deleted === 0) return yield* noKey(key)
    yield* (yield* Json) ? printJson({ deleted }) : printLine(`deleted ${deleted} ${deleted === 1 ? "key" : "keys"}`)
  })
).pipe(
  Command.withDescription("Delete a key, or all keys that start with a prefix"),
  Command.withExamples([{ command: "etcd-discovery kv del /app/ --prefix", description: "All keys below /app/" }])
)

const ls = Command.make(
  "ls",
  {
    prefix: Argument.String("prefix").pipe(
      Argument.withDescription("The beginning of the keys. Default: all keys"),
      Argument.withDefault("")
    )
  },
  Effect.fnUntraced(function* ({ prefix }) {
    const { Kv } = yield* module_
    const { entries, revision } = yield* Kv.getPrefix(Kv.prefix(prefix, Kv.bytes))
    if (yield* Json) return yield* printJson({ revision, entries: entries.map(jsonOfEntry) })
    yield* printTable(
      ["KEY", "REVISION", "LEASE", "BYTES"],
      entries.map(({ key, lease, revision, value }): ReadonlyArray<Cell> => [
        key,
        String(revision),
        hex(lease) ?? "-",
        String(value.length)
      ])
    )
  })
).pipe(
  Command.withDescription("List keys with their revisions and leases"),
  Command.withExamples([{ command: "etcd-discovery kv ls /services/", description: "The keys below /services/" }])
)

type Event = Kv.Event<Uint8Array>

const jsonOfEvent = (event: Event): unknown => {
  switch (event._tag) {
    case "Listed":
      return { event: "listed", revision: event.revision, entries: event.entries.map(jsonOfEntry) }
    case "Put":
      return { event: "put", ...jsonOfEntry(event.entry) as object }
    case "Deleted":
      return { event: "deleted", revision: event.revision, key: event.key }
    case "Rejected":
      return { event: "rejected", revision: event.revision, key: event.key, reason: event.error.message }
  }
}

const linesOfEvent = (event: Event): ReadonlyArray<string> => {
  switch (event._tag) {
    case "Listed":
      return event.entries.map(({ key, revision, value }) => `${revision}  = ${key}  ${textOf(value)}`)
    case "Put":
      return [`${event.revision}  + ${event.entry.key}  ${textOf(event.entry.value)}`]
    case "Deleted":
      return [`${event.revision}  - ${event.key}`]
    case "Rejected":
      return [`${event.revision}  ! ${event.key}  ${event.error.message}`]
  }
}

const watch = Command.make(
  "watch",
  { key, isPrefix },
  Effect.fnUntraced(function* ({ isPrefix, key }) {
    const { Kv } = yield* module_
    const json = (yield* Json) || !(yield* Screen).isTerminal
    yield* reachable(key)
    const events = Kv.watch(isPrefix ? Kv.prefix(key, Kv.bytes) : Kv.key(key, Kv.bytes))
    yield* printEach(
      events,
      (event) =>
        json ? printJson(jsonOfEvent(event)) : Effect.forEach(linesOfEvent(event), printLine, { discard: true })
    )
  })
).pipe(
  Command.withDescription("Watch a key, or all keys with a prefix; JSON lines when piped"),
  Command.withExamples([
    { command: "etcd-discovery kv watch /app/ --prefix", description: "The state, then each change" }
  ])
)

export const kv = Command.make("kv").pipe(
  Command.withDescription("Read and write raw keys, without the namespace"),
  Command.withSubcommands([get, put, del, ls, watch])
)
