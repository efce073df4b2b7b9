/**
 * Shared by the tests of coordination: an embedded etcd and clients that reach it through faults.
 *
 * @module
 */
import { Effect, Exit, Scope } from "effect"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { start, type Started } from "../harness/virtual.ts"

/** A process with a connection of its own. */
export interface Client {
  readonly etcd: Etcd
  readonly faults: FaultyEtcd.Faults
}

/** An engine, seen directly and through clients. */
export interface Stage {
  readonly operator: Etcd
  readonly client: Effect.Effect<Client, never, Scope.Scope>
}

/** An empty etcd. */
export const stage: Effect.Effect<Stage, never, Scope.Scope> = Effect.map(EtcdMemory.make(), (operator) => ({
  operator,
  client: FaultyEtcd.make(operator)
}))

/** A pending or completed acquisition in a scope of its own. */
export interface Holder<A, E> extends Started<A, E> {
  /** The acquired value; `undefined` while it waits and after a failure. */
  readonly held: () => A | undefined
  readonly release: Effect.Effect<void>
}

/** Starts an acquisition in a scope of its own, on a client. */
export const hold = <A, E>(
  { etcd }: Pick<Client, "etcd">,
  acquisition: Effect.Effect<A, E, Etcd | Scope.Scope>
): Effect.Effect<Holder<A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const started = yield* start(acquisition.pipe(Scope.provide(scope), Effect.provideService(Etcd, etcd)))
    return {
      ...started,
      held: () => {
        const exit = started.exit()
        return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
      },
      release: Scope.close(scope, Exit.void)
    }
  })

const decoder = new TextDecoder()

/** The keys below a name in the order of the line, as `lease value`. */
export const lineOf = (etcd: Etcd, name: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    Effect.orDie(etcd.range({ ...prefix(`${name}/`), sort: { target: "create", order: "ascend" } })),
    ({ kvs }) => kvs.map(({ lease, value }) => `${lease.toString(16)} ${decoder.decode(value)}`.trim())
  )
