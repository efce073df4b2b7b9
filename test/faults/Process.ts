/**
 * A client under test whose calls and results are recorded.
 *
 * @module
 */
import { Effect, Exit, Fiber, Metric, Scope, Stream } from "effect"
import type { ClaimPolicy } from "../../src/registry/registration/RegisterOptions.ts"
import { pause } from "../harness/real.ts"
import type { Call, Recorder } from "./History.ts"
import type { Client, Failed, Handle } from "./Subject.ts"

export interface RegisterHow {
  readonly id?: string
  readonly endpoint?: string
  readonly claim?: ClaimPolicy
  readonly drain?: number
  readonly startup?: "await" | "background"
  readonly ttl?: number
  readonly service?: string
}

/** A registration under test. */
export interface Registrant {
  readonly name: string
  readonly key: string
  readonly lease: Effect.Effect<bigint | undefined>
  /** Never fails: the history contains the result. */
  readonly update: (round: number) => Effect.Effect<void>
  readonly release: Effect.Effect<void>
}

/** A client under test. To etcd it is a process of its own. */
export interface Process {
  readonly name: string
  /** Fails as the client does; the history contains the failure as well. */
  readonly register: (how?: RegisterHow) => Effect.Effect<Registrant, Failed>
  /** Subscribes to sets. Returns an effect that ends it. */
  readonly subscribe: (service?: string) => Effect.Effect<Effect.Effect<void>>
  /** Subscribes to changes. Returns an effect that ends it. */
  readonly follow: (service?: string) => Effect.Effect<Effect.Effect<void>>
  /** Releases all registrations, ends all subscriptions, and closes the client. */
  readonly close: Effect.Effect<void>
}

export interface ProcessOptions {
  readonly recorder: Recorder
  readonly name: string
  readonly client: Client
  /** The client's own. */
  readonly scope: Scope.Closeable
  readonly namespace: string
  readonly service: string
  /** Seconds. */
  readonly ttl: number
}

/** How many keys reconciliation has repaired, in all clients that share the metrics. */
export const mended: Effect.Effect<number> = Effect.map(
  Metric.snapshot,
  (metrics) =>
    metrics.filter(({ id }) => id === "etcd_discovery_reconciliation_repairs_total")
      .reduce((sum, { state }) => sum + Number("count" in state ? state.count : 0), 0)
)

/** Names registrants and subscribers after the process, whose name is unique. */
export const makeProcess = ({ client, name, namespace, recorder, scope, service, ttl }: ProcessOptions): Process => {
  const names = new Map<string, number>()
  const fresh = (stem: string) => {
    const count = (names.get(stem) ?? 0) + 1
    names.set(stem, count)
    return `${stem}-${count}`
  }
  const releases = new Set<Effect.Effect<void>>()
  const unsubscribes = new Set<Effect.Effect<void>>()

  const called = <A, E extends Failed>(registrant: string, key: string, call: Call, effect: Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      recorder.add({ _tag: "Called", registrant, call, key })
      return Effect.onExit(effect, (exit) =>
        Effect.sync(() => {
          const failure = Exit.isSuccess(exit) ? undefined : failureOf(exit)
          recorder.add({ _tag: "Returned", registrant, call, ...(failure === undefined ? {} : { failure }) })
        }))
    })

  const register: Process["register"] = Effect.fnUntraced(function* (how = {}) {
    const registrant = fresh(name)
    const id = how.id ?? registrant
    const inService = how.service ?? service
    const key = `${namespace}/${inService}/${id}`
    const own = yield* Scope.make()
    const release = called(registrant, key, "release", Scope.close(own, Exit.void))
    const handle: Handle = yield* called(
      registrant,
      key,
      how.startup === "background" ? "start" : "register",
      client.register({
        service: inService,
        id,
        owner: registrant,
        endpoint: how.endpoint ?? `http://${registrant}:1`,
        ttl: how.ttl ?? ttl,
        claim: how.claim ?? "restart",
        drain: how.drain ?? 0,
        startup: how.startup ?? "await"
      }).pipe(Scope.provide(own))
    ).pipe(Effect.onError(() => Scope.close(own, Exit.void)))
    yield* handle.statuses.pipe(
      Stream.runForEach(({ claim, status }) =>
        Effect.sync(() =>
          recorder.add({ _tag: "Status", registrant, status, ...(claim === undefined ? {} : { claim }) })
        )
      ),
      Effect.forkIn(scope, { startImmediately: true })
    )
    releases.add(release)
    return {
      name: registrant,
      key,
      lease: handle.lease,
      update: (round) => Effect.ignore(called(registrant, key, "update", handle.update(round))),
      release: Effect.suspend(() => releases.delete(release) ? release : Effect.void)
    }
  })

  const subscribed = (
    kind: "sets" | "changes",
    inService: string,
    consume: (subscriber: string) => Effect.Effect<void, Failed>
  ) =>
    Effect.gen(function* () {
      const subscriber = fresh(`${name}-${kind}`)
      const once = Effect.suspend(() => {
        recorder.add({ _tag: "Subscribed", subscriber, service: inService })
        return consume(subscriber)
      })
      // After a refusal the call may be repeated.
      const fiber = yield* Effect.exit(once).pipe(
        Effect.flatMap((exit) =>
          Effect.sync(() => recorder.add({ _tag: "Ended", subscriber, failure: failureOf(exit) ?? "without a reason" }))
        ),
        Effect.andThen(pause(500)),
        Effect.forever,
        Effect.forkIn(scope, { startImmediately: true })
      )
      const unsubscribe: Effect.Effect<void> = Effect.suspend(() => {
        if (!unsubscribes.delete(unsubscribe)) return Effect.void
        recorder.add({ _tag: "Unsubscribed", subscriber })
        return Fiber.interrupt(fiber)
      })
      unsubscribes.add(unsubscribe)
      return unsubscribe
    })

  const close: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach([...releases], (release) => {
      releases.delete(release)
      return release
    }, { concurrency: "unbounded" }).pipe(
      Effect.andThen(Effect.suspend(() => Effect.forEach([...unsubscribes], (unsubscribe) => unsubscribe))),
      Effect.andThen(Scope.close(scope, Exit.void)),
      Effect.asVoid,
      Effect.ignore
    )
  )
  const made: Process = {
    name,
    register,
    subscribe: (inService = service) =>
      subscribed(
        "sets",
        inService,
        (subscriber) =>
          Stream.runForEach(
            client.sets(inService),
            (set) => Effect.sync(() => recorder.add({ _tag: "Emitted", subscriber, set }))
          )
      ),
    follow: (inService = service) =>
      subscribed(
        "changes",
        inService,
        (subscriber) =>
          Stream.runForEach(
            client.changes(inService),
            (change) => Effect.sync(() => recorder.add({ _tag: "Changed", subscriber, ...change }))
          )
      ),
    close
  }
  return made
}

const failureOf = (exit: Exit.Exit<unknown, Failed>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" ? reason.error._tag : reason?._tag
}
