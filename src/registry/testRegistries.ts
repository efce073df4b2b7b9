/**
 * Registries without etcd, for tests: one that never changes and one whose operations fail.
 *
 * They check options as a registry on etcd does, and fail with the same errors.
 *
 * @module
 */
import { Deferred, Effect, Exit, HashMap, Option, Result, type Scope, Stream } from "effect"
import * as Catalog from "./discovery/Catalog.ts"
import { checkName, type DiscoveryError, DiscoveryRefused, type ListedService } from "./discovery/Discovery.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { Latest } from "../internal/Latest.ts"
import * as Codec from "./model/Codec.ts"
import type { ServiceInstance } from "./model/Instance.ts"
import * as InstanceSet from "./model/InstanceSet.ts"
import type { Keyspace } from "./model/Keyspace.ts"
import { layoutOf } from "./model/Layout.ts"
import * as Service from "./model/Service.ts"
import { type Registration, RegistrationStatus } from "./registration/Registration.ts"
import { checkPatch, encode, plan, type RegisterOptions } from "./registration/RegisterOptions.ts"
import { type RegistrationError, RegistrationRefused } from "./registration/RegistrationError.ts"
import { Freshness } from "../etcd/Freshness.ts"

/**
 * An instance of `Registry.layerFixed`. Missing members have their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface FixedInstance extends Partial<Omit<ServiceInstance<unknown>, "name" | "endpoints">> {
  /** The name of the service. */
  readonly name: string
  /** Absolute URLs, at least one. */
  readonly endpoints: ReadonlyArray<string>
}

const checkedName = (service: Service.AnyService): Effect.Effect<string, InvalidOption> =>
  Effect.fromResult(checkOptions("discover", (check) => checkName(check, service)))

/** A registry with these instances, which never change. */
export const fixed = (keyspace: Keyspace, given: Iterable<FixedInstance>) => {
  const instances = Array.from(given, (instance, index): ServiceInstance<unknown> => ({
    id: `${instance.name}-${index + 1}`,
    metadata: {},
    weight: 1,
    status: "up",
    ...instance
  }))
  const setOf = <M>(service: Service.Service<M>): Effect.Effect<InstanceSet.InstanceSet<M>, DiscoveryError> => {
    const layout = layoutOf(service, keyspace)
    return Effect.map(checkedName(service), (name) => {
      const rejected = new Map<string, InstanceSet.Rejected>()
      const byId = new Map<string, ServiceInstance<M>>()
      for (const instance of instances) {
        if (instance.name !== name) continue
        const read = throughCodec(service, instance)
        const key = layout.key(name, instance.id)
        if (Result.isSuccess(read)) byId.set(read.success.id, read.success)
        else rejected.set(instance.id, { key, error: read.failure })
      }
      return InstanceSet.make({
        byId: HashMap.fromIterable(byId),
        revision: 1n,
        freshness: Freshness.Live(),
        rejected: HashMap.fromIterable(rejected),
        held: new Map(),
        history: new InstanceSet.History(),
        sequence: 0
      })
    })
  }
  const counts = new Map<string, number>()
  for (const { name } of instances) counts.set(name, (counts.get(name) ?? 0) + 1)
  const services = Array.from(counts, ([name, instances]): ListedService => ({ name, instances }))
    .sort((a, b) => a.name < b.name ? -1 : 1)
  const catalog = Effect.map(
    Effect.forEach(services, ({ name }) => Effect.map(setOf(Service.make(name)), (set) => [name, set] as const)),
    (sets) =>
      Catalog.make({
        sets: HashMap.fromIterable(sets),
        revision: 1n,
        freshness: Freshness.Live(),
        rejected: HashMap.empty()
      })
  )
  return {
    register: <M>(service: Service.Service<M>, options: RegisterOptions<M>) =>
      registerNowhere(keyspace, service, options),
    discover: <M>(service: Service.Service<M>) => Stream.concat(Stream.fromEffect(setOf(service)), Stream.never),
    discoverAll: () => Stream.concat(Stream.fromEffect(catalog), Stream.never),
    getInstances: setOf,
    listServices: Effect.succeed(services)
  }
}

/** The instance as a consumer reads it from etcd. */
const throughCodec = <M>({ codec }: Service.Service<M>, instance: ServiceInstance<unknown>) =>
  // Encoding and decoding checks that the metadata is an `M`.
  Result.flatMap(
    Codec.encode(codec, instance as ServiceInstance<M>),
    (value) => Codec.decode(codec, instance.name, instance.id, value)
  )

/** A registration that is `Registered` at once and writes nothing. */
const registerNowhere = <M>(
  keyspace: Keyspace,
  service: Service.Service<M>,
  options: RegisterOptions<M>
): Effect.Effect<Registration<M>, RegistrationError, Scope.Scope> =>
  Effect.gen(function* () {
    const { codec, instance: planned, key } = yield* Effect.fromResult(plan(keyspace, service, options))
    const statuses = new Latest<RegistrationStatus>()
    let instance: ServiceInstance<M> = options.health === undefined ? planned : { ...planned, status: "up" }
    let status: RegistrationStatus = RegistrationStatus.Registered({ leaseId: 1n, revision: 1n })
    const setStatus = (next: RegistrationStatus) =>
      Effect.sync(() => {
        status = next
        statuses.set(next)
      })
    const change = (next: ServiceInstance<M>) =>
      Effect.suspend(() => {
        const isNews = next.status !== instance.status
        instance = next
        if (!isNews) return Effect.void
        return setStatus(
          next.status === "draining" ?
            RegistrationStatus.Draining() :
            RegistrationStatus.Registered({ leaseId: 1n, revision: 1n })
        )
      })
    statuses.set(status)
    const failed = yield* Deferred.make<never, RegistrationError>()
    yield* Effect.addFinalizer(() =>
      Effect.map(setStatus(RegistrationStatus.Released()), () => statuses.end(Exit.void))
    )
    return {
      get instance() {
        return instance
      },
      key,
      leaseId: Effect.sync(() => status._tag === "Released" ? Option.none() : Option.some(1n)),
      status: { get: Effect.sync(() => status), changes: statuses.changes },
      health: Effect.succeed(Option.none()),
      update: (patch) =>
        Effect.gen(function* () {
          const next = { ...instance, ...(yield* Effect.fromResult(checkPatch(patch))) }
          yield* Effect.fromResult(encode(codec, next))
          yield* change(next)
        }),
      drain: Effect.suspend(() => change({ ...instance, status: "draining" })),
      awaitFailure: Deferred.await(failed)
    }
  })

/** A registry whose operations all fail with this error. */
export const failing = (keyspace: Keyspace, cause: EtcdError) => {
  const refuse = <M>(service: Service.Service<M>): Effect.Effect<never, DiscoveryError> => {
    const layout = layoutOf(service, keyspace)
    return Effect.flatMap(
      checkedName(service),
      (name) => Effect.fail(new DiscoveryRefused({ prefix: layout.servicePrefix(name), cause }))
    )
  }
  return {
    register: <M>(service: Service.Service<M>, options: RegisterOptions<M>) =>
      Effect.flatMap(
        Effect.fromResult(plan(keyspace, service, options)),
        ({ key }) => Effect.fail(new RegistrationRefused({ key, cause }))
      ),
    discover: <M>(service: Service.Service<M>) => Stream.fromEffect(refuse(service)),
    discoverAll: () => Stream.fail(new DiscoveryRefused({ prefix: keyspace.prefix, cause })),
    getInstances: refuse,
    listServices: Effect.fail(new DiscoveryRefused({ prefix: keyspace.prefix, cause }))
  }
}
