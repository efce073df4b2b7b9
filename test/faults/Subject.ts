/**
 * The clients under test, behind one small interface: the library, and two naive clients that the suite must detect.
 *
 * @module
 */
import { Effect, Layer, Option, type Redacted, type Scope, Stream } from "effect"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import type { InstanceSet } from "../../src/registry/model/InstanceSet.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import { discover, discoverChanges, registerService, Registry } from "../../mod.ts"
import type { ClaimPolicy } from "../../src/registry/registration/RegisterOptions.ts"
import { contentOf, type SeenSet } from "./History.ts"
import { connectNaive } from "./Naive.ts"

export interface ConnectOptions {
  readonly endpoints: ReadonlyArray<string>
  readonly namespace: string
  /** Milliseconds each. */
  readonly progressEvery: number
  readonly progressTimeout: number
  readonly reconcileEvery: number
  /** Default: 1000. */
  readonly requestTimeout?: number
  readonly username?: string
  /** Runs at each authentication. */
  readonly password?: Effect.Effect<Redacted.Redacted>
  /** Paths of PEM files. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string }
  /** Wraps the etcd of the client. */
  readonly around?: (etcd: Etcd) => Effect.Effect<Etcd>
}

export interface RegisterCall {
  readonly service: string
  readonly id: string
  /** Stored in the metadata of the instance. */
  readonly owner: string
  readonly endpoint: string
  /** Seconds. */
  readonly ttl: number
  readonly claim: ClaimPolicy
  readonly drain: number
  readonly startup: "await" | "background"
}

export interface SeenStatus {
  readonly status: string
  readonly claim?: { readonly lease: bigint; readonly revision: bigint }
}

export interface SeenChange {
  readonly change: "Added" | "Updated" | "Removed"
  readonly id: string
  readonly content: string
}

/** The tag of a failure. */
export interface Failed {
  readonly _tag: string
  readonly message?: string
}

export interface Handle {
  /** Updates the number in the metadata. */
  readonly update: (round: number) => Effect.Effect<void, Failed>
  readonly statuses: Stream.Stream<SeenStatus>
  /** The lease that the client believes to hold. */
  readonly lease: Effect.Effect<bigint | undefined>
}

export interface Client {
  /** Kept until the scope closes. */
  readonly register: (call: RegisterCall) => Effect.Effect<Handle, Failed, Scope.Scope>
  readonly sets: (service: string) => Stream.Stream<SeenSet, Failed>
  readonly changes: (service: string) => Stream.Stream<SeenChange, Failed>
}

export const naiveNames = ["naive", "forgetful"] as const

export type NaiveName = (typeof naiveNames)[number]

export type SubjectName = "library" | NaiveName

export type Connect = (options: ConnectOptions) => Effect.Effect<Client, Failed, Scope.Scope>

const texts = new WeakMap<object, string>()

/** Sets share their instances, so each is converted to text once. */
const textOf = (instance: ServiceInstance): string => {
  const known = texts.get(instance)
  if (known !== undefined) return known
  const text = contentOf(instance)
  texts.set(instance, text)
  return text
}

const seenSet = (set: InstanceSet): SeenSet => ({
  revision: set.revision,
  live: set.freshness._tag === "Live",
  // Built on demand, because the oracle may not need it.
  get contents() {
    return new Map(set.instances.map((instance): [string, string] => [instance.id, textOf(instance)]))
  }
})

const contentOfInstance = (instance: ServiceInstance) => ({ id: instance.id, content: contentOf(instance) })

/** The library, with short times. To etcd, each client is a process of its own. */
export const connectLibrary: Connect = Effect.fnUntraced(function* (
  {
    around,
    endpoints,
    namespace,
    password,
    progressEvery,
    progressTimeout,
    reconcileEvery,
    requestTimeout,
    tls,
    username
  }: ConnectOptions
) {
  const options = {
    endpoints,
    namespace,
    progressEvery,
    progressTimeout,
    reconcileEvery,
    dialTimeout: "1 second",
    requestTimeout: requestTimeout ?? 1000,
    releaseTimeout: "2 seconds",
    ...(tls === undefined ? {} : { tls }),
    ...(username === undefined || password === undefined ? {} : { username, password })
  } as const
  const context = yield* Layer.build(
    around === undefined ? Registry.layerEtcd(options) : Registry.layer(options).pipe(
      Layer.provide(Layer.effect(Etcd, Effect.flatMap(EtcdGrpc.make(options), around)))
    )
  )
  return {
    register: ({ claim, drain, endpoint, id, owner, service, startup, ttl }) =>
      registerService(service, {
        id,
        endpoints: [endpoint],
        ttl: `${ttl} seconds`,
        claim,
        drain,
        startup,
        startupTimeout: "1 minute",
        metadata: { owner, round: "0" }
      }).pipe(
        Effect.provide(context),
        Effect.map((registration): Handle => ({
          update: (round) => registration.update({ metadata: { owner, round: String(round) } }),
          statuses: Stream.map(registration.status.changes, (status): SeenStatus =>
            status._tag === "Registered" ?
              { status: status._tag, claim: { lease: status.leaseId, revision: status.revision } } :
              { status: status._tag }),
          lease: Effect.map(registration.leaseId, Option.getOrUndefined)
        }))
      ),
    sets: (service) => discover(service).pipe(Stream.map(seenSet), Stream.provide(context)),
    changes: (service) =>
      discoverChanges(service).pipe(
        Stream.map((change): SeenChange => ({ change: change._tag, ...contentOfInstance(change.instance) })),
        Stream.provide(context)
      )
  }
})

const connectAs =
  (name: NaiveName): Connect => ({ around = Effect.succeed, endpoints, namespace, password, username }) =>
    EtcdGrpc.make({
      endpoints,
      ...(username === undefined || password === undefined ? {} : { username, password })
    }).pipe(
      Effect.flatMap(around),
      Effect.flatMap((etcd) => connectNaive(etcd, namespace, name))
    )

export const subjects: Readonly<Record<SubjectName, Connect>> = {
  library: connectLibrary,
  naive: connectAs("naive"),
  forgetful: connectAs("forgetful")
}

/** The subject of a program, by name. */
export const subjectOf = (name: string | undefined): SubjectName =>
  naiveNames.find((known) => known === name) ?? "library"
