/**
 * Shared by the tests against real etcd servers: registries with short times, an observer that reads etcd directly, and
 * recordings of streams on which tests can wait.
 *
 * @module
 */
import { Cause, Effect, type Exit, Layer, Logger, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { LeaseId } from "../../../src/etcd/messages/lease.ts"
import { rangeAll } from "../../../src/etcd/rangeAll.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import type { InstanceSet } from "../../../src/registry/model/InstanceSet.ts"
import type { Registration, RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { Registry } from "../../../mod.ts"
import { etcdctl, type EtcdServer } from "../../harness/EtcdServer.ts"
import { eventually, limitMillis } from "../../harness/real.ts"

let namespaces = 0

/** A namespace that no other test uses. */
export const freshNamespace = (): string => `/test-${++namespaces}`

/** A registry over one endpoint that detects failures within seconds. A busy server has 3 seconds for an answer. */
export const registryAt = (
  endpoint: string,
  options: Registry.Options & Partial<EtcdGrpc.Options> = {}
): Layer.Layer<Registry.Registry, unknown> =>
  Registry.layerEtcd({
    endpoints: [endpoint],
    progressEvery: "1 second",
    progressTimeout: "3 seconds",
    ...options
  })

/** Runs effects with the registry of a process of its own, whose client lives as long as the scope. */
export type Process = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Registry.Registry>>

/** Another process, from etcd's point of view. */
export const processAt = (
  endpoint: string,
  options: Parameters<typeof registryAt>[1] = {}
): Effect.Effect<Process, unknown, Scope.Scope> =>
  Effect.map(Layer.build(registryAt(endpoint, options)), (context) => (effect) => Effect.provide(effect, context))

/** The recorded values of a stream. */
export interface Recorded<A, E> {
  readonly all: ReadonlyArray<A>
  /** The newest value; fails if there is none. */
  readonly latest: () => A
  /**
   * Waits for the first value from index `since` on that satisfies the predicate. Default: from the newest value on.
   */
  readonly until: (
    predicate: (value: A) => boolean,
    options?: { readonly since?: number; readonly limit?: number }
  ) => Effect.Effect<A, Error>
  /** How the stream ended. */
  readonly ended: Effect.Effect<Exit.Exit<void, E>, Error>
}

/** Records a stream for the lifetime of the scope. */
export const recorded = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Recorded<A, E>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const all: Array<A> = []
    const listeners = new Set<() => void>()
    let exit: Exit.Exit<void, E> | undefined
    const notify = () => [...listeners].forEach((listener) => listener())
    yield* stream.pipe(
      Stream.runForEach((value) =>
        Effect.sync(() => {
          all.push(value)
          notify()
        })
      ),
      Effect.onExit((ended) =>
        Effect.sync(() => {
          exit = ended
          notify()
        })
      ),
      Effect.exit,
      Effect.forkScoped({ startImmediately: true })
    )

    /** Completes with the result of `look`, now or after a value or the end. */
    const when = <B>(look: () => Effect.Effect<B, Error> | undefined, milliseconds: number): Effect.Effect<B, Error> =>
      Effect.callback((resume) => {
        const stop = () => {
          clearTimeout(timer)
          listeners.delete(check)
        }
        const check = () => {
          const found = look()
          if (found === undefined) return
          stop()
          resume(found)
        }
        const timer = setTimeout(() => {
          stop()
          resume(Effect.fail(
            new Error(`not so within ${milliseconds} ms; ${all.length} values, the last: ${show(all.at(-1))}`)
          ))
        }, milliseconds)
        listeners.add(check)
        check()
        return Effect.sync(stop)
      })

    return {
      all,
      latest: () => {
        const last = all.at(-1)
        if (last === undefined) throw new Error("nothing was recorded")
        return last
      },
      until: (predicate, options = {}) =>
        Effect.suspend(() => {
          let next = options.since ?? Math.max(0, all.length - 1)
          return when(() => {
            for (; next < all.length; next++) {
              const value = all[next]!
              if (predicate(value)) return Effect.succeed(value)
            }
            if (exit === undefined) return undefined
            return Effect.fail(new Error(`it ended before: ${show(all.at(-1))} ${String(exit)}`))
          }, options.limit ?? limitMillis)
        }),
      ended: Effect.suspend(() => when(() => exit === undefined ? undefined : Effect.succeed(exit), limitMillis))
    }
  })

const show = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) => typeof member === "bigint" ? String(member) : member) ?? "nothing"

/** Records the statuses of a registration. */
export const statusesOf = <M>(
  registration: Registration<M>
): Effect.Effect<Recorded<RegistrationStatus, never>, never, Scope.Scope> => recorded(registration.status.changes)

/** The current or next status of this kind. */
export const awaitStatus = <M, Tag extends RegistrationStatus["_tag"]>(
  registration: Registration<M>,
  tag: Tag,
  milliseconds = limitMillis
): Effect.Effect<Extract<RegistrationStatus, { readonly _tag: Tag }>, Error> =>
  registration.status.changes.pipe(
    Stream.filter((status): status is Extract<RegistrationStatus, { readonly _tag: Tag }> => status._tag === tag),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption),
    Effect.timeout(milliseconds),
    Effect.catch(() =>
      Effect.flatMap(
        registration.status.get,
        (status) => Effect.fail(new Error(`${tag} within ${milliseconds} ms: it is ${show(status)}`))
      )
    )
  )

/** A separate client that reads etcd directly. */
export const observer = (server: EtcdServer): Effect.Effect<Etcd, EtcdError, Scope.Scope> =>
  Effect.catchTag(EtcdGrpc.make({ endpoints: [server.endpoint] }), "InvalidOption", Effect.die)

/** A key in the form of etcdctl. */
export interface Shown {
  readonly key: string
  readonly value: string
  readonly lease: LeaseId
  readonly revision: bigint
}

interface EtcdctlGet {
  readonly kvs?: ReadonlyArray<
    {
      readonly key: string
      readonly value?: string
      readonly lease?: string
      readonly mod_revision: string
    }
  >
}

const fromBase64 = (text: string) => new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)))

/** The keys that start with `start`, as `etcdctl` shows them. */
export const keysIn = (server: EtcdServer, start: string): Effect.Effect<ReadonlyArray<Shown>, Error> =>
  Effect.map(etcdctl(server, "get", "--prefix", start, "-w", "json"), (text) => {
    // int64 is a JSON number here
    const { kvs = [] }: EtcdctlGet = JSON.parse(text.replaceAll(/:(\d+)/g, ':"$1"'))
    return kvs.map(({ key, lease = "0", mod_revision, value = "" }) => ({
      key: fromBase64(key),
      value: fromBase64(value),
      lease: BigInt(lease),
      revision: BigInt(mod_revision)
    }))
  })

/** All leases. */
export const leasesIn = (server: EtcdServer): Effect.Effect<ReadonlyArray<LeaseId>, EtcdError> =>
  Effect.scoped(
    Effect.flatMap(observer(server), (etcd) => Effect.map(etcd.leaseLeases, ({ leases }) => leases))
  )

/** Asserts that etcd has no key under the namespace and no lease. */
export const assertNothingLeft = (server: EtcdServer, namespace: string): Effect.Effect<void, Error> =>
  Effect.gen(function* () {
    assert.deepEqual({ keys: yield* keysIn(server, namespace), leases: yield* leasesIn(server) }, {
      keys: [],
      leases: []
    })
  })

/** Waits until nothing is left: etcd removes revoked and expired leases with a delay. */
export const eventuallyNothingLeft = (server: EtcdServer, namespace: string): Effect.Effect<void, Error> =>
  eventually(
    Effect.gen(function* () {
      const keys = yield* keysIn(server, namespace)
      const leases = yield* leasesIn(server)
      if (keys.length + leases.length > 0) return yield* Effect.fail(show({ keys, leases }))
    }),
    { every: 200 }
  )

/** All later events of a range, without the library's `follow`: `put` and `delete` by key. */
export interface Traffic {
  readonly events: ReadonlyArray<{ readonly type: "put" | "delete"; readonly key: string; readonly value: string }>
  readonly until: (
    predicate: (event: { readonly type: "put" | "delete"; readonly key: string; readonly value: string }) => boolean
  ) => Effect.Effect<{ readonly at: number }, Error>
}

/** Watches a range directly for the lifetime of the scope. */
export const trafficOf = (
  etcd: Etcd,
  start: string
): Effect.Effect<Traffic, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const range = prefix(start)
    const { header } = yield* etcd.range({ ...range, countOnly: true })
    const text = new TextDecoder()
    const record = yield* recorded(
      etcd.watch({ ...range, startRevision: header.revision + 1n }).pipe(
        Stream.flatMap((response) =>
          response._tag !== "Events" ? Stream.empty : Stream.fromArray(response.events.map(({ kv, type }) => ({
            type,
            key: text.decode(kv.key),
            value: text.decode(kv.value),
            at: performance.now()
          })))
        )
      )
    )
    return {
      get events() {
        return record.all.map(({ key, type, value }) => ({ type, key, value }))
      },
      until: (predicate) => record.until(predicate, { since: 0 })
    }
  })

/** All keys of a range, read directly. */
export const readAll = (etcd: Etcd, start: string) => rangeAll(etcd, prefix(start))

/** The ids of a set, in its order. */
export const ids = <M>(set: InstanceSet<M>): ReadonlyArray<string> => set.instances.map(({ id }) => id)

/** Whether a set is `Live` and has exactly these ids. */
export const isLiveWith = (...wanted: ReadonlyArray<string>) => <M>(set: InstanceSet<M>): boolean =>
  set.freshness._tag === "Live" && ids(set).join() === wanted.join()

/** Collects log lines at `Warn` and above. */
export const loggingTo = (lines: Array<string>): Layer.Layer<never> =>
  Logger.layer([Logger.make(({ cause, logLevel, message }) => {
    if (logLevel !== "Info" && logLevel !== "Debug") {
      const all = Array.isArray(message) ? message : [message]
      lines.push(`${all.map(String).join(" ")}${cause.reasons.length === 0 ? "" : ` ${Cause.pretty(cause)}`}`)
    }
  })])

/** Drops log lines that the tests cause on purpose. */
export const quiet: Layer.Layer<never> = Logger.layer([])
