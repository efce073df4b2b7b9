/**
 * Runs a program on the engine and on a server, step by step: both must return the same results and emit the same
 * events.
 *
 * @module
 */
import { Clock, Effect, Queue, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import { isDeepStrictEqual } from "node:util"
import { type Command, keyOf, type Keys, rangeOf, watchRequest } from "./Program.ts"
import { begin, carryOut, finish, letExpire, type Reports, type Side, startWatch } from "./Side.ts"

/** The first difference between the engine and the server. */
export interface Difference {
  readonly step: number
  readonly command: Step
  readonly engine: unknown
  readonly server: unknown
}

/** A command of the program, or keys whose lease expires. */
export type Step = Command | { readonly _tag: "Expire"; readonly names: ReadonlyArray<string> }

let programs = 0

export interface CheckOptions {
  /**
   * etcd before 3.5 loses a deletion at the revision it is compacted at: a watch that starts there does not emit it.
   */
  readonly losesDeletionAtCompactRevision?: boolean
}

/** Runs a program on a new engine and on a server without other clients. */
export const check = (
  server: Etcd,
  steps: ReadonlyArray<Step>,
  { losesDeletionAtCompactRevision = false }: CheckOptions = {}
): Effect.Effect<true, Difference | EtcdError> =>
  Effect.scoped(Effect.gen(function* () {
    const number = ++programs
    const origin = { root: `model/${number}/`, firstLease: 0x2000_0000n + BigInt(number) * 16n }
    const pair = { engine: yield* engineSide(origin), server: yield* serverSide(server, origin) }
    const watches: Array<Watched> = []
    const compactions = new Set<number>()

    for (const [step, command] of steps.entries()) {
      const differs = (engine: unknown, server: unknown) => Effect.fail({ step, command, engine, server })
      if (command._tag === "Watch") {
        if (losesDeletionAtCompactRevision && compactions.has(command.start ?? -1)) continue
        const engine = yield* startWatch(pair.engine, watchRequest(pair.engine.place, command))
        const server = yield* startWatch(pair.server, watchRequest(pair.server.place, command))
        const watched = { engine, server, step, command }
        if (command.start !== undefined) yield* nudge(pair, command.keys)
        yield* settle(watched)
        watches.push(watched)
        continue
      }
      // Compaction would remove the previous key-values of events that the server has not emitted yet.
      if (command._tag === "Compact") {
        yield* Effect.forEach(watches, settle)
        compactions.add(command.later)
      }
      const run = (side: Side) =>
        command._tag === "Expire" ?
          letExpire(side, command.names.map((name) => keyOf(side.place, name))) :
          carryOut(side, command)
      const server = yield* run(pair.server)
      const engine = yield* run(pair.engine)
      if (!isDeepStrictEqual(engine, server)) yield* differs(engine, server)
    }

    yield* finish(pair.engine)
    yield* finish(pair.server)
    yield* Effect.forEach(watches, settle)
    return true as const
  }))

type Origin = Parameters<typeof begin>[1]

interface Pair {
  readonly engine: Side
  readonly server: Side
}

interface Watched {
  readonly engine: Reports
  readonly server: Reports
  readonly step: number
  readonly command: Command
}

const engineSide = (origin: Origin): Effect.Effect<Side, EtcdError, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* TestClock.make({ warningDelay: "10 minutes" })
    const etcd = yield* Effect.provideService(EtcdMemory.make({ minLeaseTtl: 1 }), Clock.Clock, clock)
    return yield* begin(etcd, origin, (_, seconds) => clock.adjust(seconds * 1000))
  })

const serverSide = (etcd: Etcd, origin: Origin): Effect.Effect<Side, EtcdError, Scope.Scope> =>
  begin(etcd, origin, (id) =>
    Effect.gen(function* () {
      const { keys: [key] } = yield* etcd.leaseTimeToLive({ id, keys: true })
      if (key === undefined) return
      const { header, kvs: [kv] } = yield* etcd.range({ key })
      const deletion = etcd.watch({
        key,
        startRevision: (kv?.modRevision ?? header.revision - 1n) + 1n,
        filters: ["noPut"]
      }).pipe(Stream.filter(({ _tag }) => _tag === "Events"), Stream.take(1), Stream.runDrain)
      yield* deletion
    }))

/**
 * Waits until a watch that starts in the past has caught up. A server reads its history some time after the creation
 * and does not report the end. A new event in its range arrives after all old ones.
 */
const nudge = (pair: Pair, keys: Keys): Effect.Effect<void, EtcdError> =>
  Effect.forEach([pair.engine, pair.server], ({ etcd, place }) => {
    const { key } = rangeOf(place, keys)
    return Effect.andThen(etcd.put({ key, value: "nudge" }), etcd.deleteRange({ key }))
  }, { discard: true })

/** Compares the new messages of the engine with as many from the server. */
const settle = ({ command, step, ...watched }: Watched): Effect.Effect<void, Difference> =>
  Effect.gen(function* () {
    const engine = yield* Queue.clear(watched.engine)
    const server: Array<unknown> = []
    while (server.length < engine.length) {
      const next = yield* Effect.timeoutOption(Queue.take(watched.server), "20 seconds")
      if (next._tag === "None") break
      server.push(next.value)
    }
    if (!isDeepStrictEqual(engine, server)) yield* Effect.fail({ step, command, engine, server })
  })
