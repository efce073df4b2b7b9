/**
 * What `registerService` is told, and the check of it.
 *
 * @module
 */
import { Duration, Effect, Option, Result, type Schedule } from "effect"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { type Codec, maxValueBytes } from "../model/Codec.ts"
import { endpoint } from "../model/Endpoint.ts"
import { InstanceStatus, type ServiceInstance } from "../model/Instance.ts"
import type { Layout } from "../model/Layout.ts"
import { layoutOf, type Service } from "../model/Service.ts"
import * as Backoff from "../../etcd/Backoff.ts"
import * as Ttl from "../../etcd/Ttl.ts"
import { InvalidRegistration, type RegistrationLost } from "./RegistrationError.ts"

/**
 * What to do when the id is in etcd already.
 *
 * - `"restart"`: with the same endpoints it is an earlier run of this process: take over at once. With other endpoints
 *   wait for its lease to end, up to one TTL, then fail with `InstanceIdTaken`.
 * - `"exclusive"`: fail with `InstanceIdTaken`.
 * - `"overwrite"`: take over.
 */
export type Claim = "restart" | "exclusive" | "overwrite"

/** How a registration is kept; the layer of the registry can set other defaults. */
export interface RegistrationPolicy {
  /** How long the instance stays in etcd without a heartbeat; whole seconds, at least 2. Default: 15 seconds. */
  readonly ttl?: Duration.Input
  /** Time between heartbeats, at most half of `ttl`. Default: a third of it. */
  readonly heartbeat?: Duration.Input
  /** When to try again after a failure or a loss. Default: `Backoff.reregister`, which never ends. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
  /** What to do when the id is in etcd already. Default: `"restart"`. */
  readonly claim?: Claim
  /** `"await"` (the default) completes once the key is in etcd, `"background"` at once. */
  readonly startup?: "await" | "background"
  /**
   * How long `"await"` waits for etcd. Default: 15 seconds. Waiting for the lease of an earlier run (`claim:
   * "restart"`) is bounded by the TTL instead.
   */
  readonly startupTimeout?: Duration.Input
  /** Time between publishing `"draining"` and leaving, when the scope closes. Default: 0, which publishes nothing. */
  readonly drain?: Duration.Input
  /** How long etcd may take to answer when the scope closes. Default: 5 seconds. */
  readonly releaseTimeout?: Duration.Input
}

/** An instance of a service that is only a name, and how to keep it registered. */
export interface RegisterOptions<M = Readonly<Record<string, string>>> extends InstanceOptions<M> {
  /** The service: 1 to 253 bytes without `/`. */
  readonly name: string
}

/** An instance of a defined service, and how to keep it registered. */
export interface InstanceOptions<M = Readonly<Record<string, string>>> extends RegistrationPolicy {
  /**
   * Unique within the service. Default: random, or as the layout of the codec says. A stable id lets a restarted process
   * take over at once.
   */
  readonly id?: string
  /** Absolute URLs; `host:port` means `tcp://host:port`. */
  readonly endpoints: readonly [string, ...ReadonlyArray<string>]
  readonly version?: string
  /** Relative share of the traffic; 0 means none. Default: 1, or as the layout of the codec says. */
  readonly weight?: number
  readonly zone?: string
  /** Default: `{}`. */
  readonly metadata?: M
  /** Gates the status: `"starting"` until it first succeeds, `"down"` after `healthThreshold` failures in a row. */
  readonly health?: Effect.Effect<unknown, unknown>
  /** Time between two checks, and the time one may take. Default: the heartbeat. */
  readonly healthEvery?: Duration.Input
  /** Default: 3. */
  readonly healthThreshold?: number
}

/** What an `update` changes; members that are left out stay. */
export interface InstancePatch<M = Readonly<Record<string, string>>> {
  readonly metadata?: M
  readonly weight?: number
  readonly version?: string
  readonly status?: InstanceStatus
}

/** A checked registration. */
export interface RegistrationPlan<M> {
  readonly key: string
  readonly codec: Codec<M>
  readonly instance: ServiceInstance<M>
  /** The bytes of `instance`. */
  readonly value: Uint8Array
  readonly ttl: Ttl.Ttl
  readonly retry: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
  readonly claim: Claim
  readonly startup: "await" | "background"
  readonly startupTimeout: Duration.Duration
  readonly drain: Duration.Duration
  readonly releaseTimeout: Duration.Duration
  readonly health: Option.Option<{
    readonly check: Effect.Effect<unknown, unknown>
    readonly every: Duration.Duration
    readonly threshold: number
  }>
}

const invalid = (field: string, value: unknown, rule: string): Result.Result<never, InvalidRegistration> =>
  Result.fail(new InvalidRegistration({ field, value, rule }))

const duration = (
  field: string,
  value: Duration.Input,
  minimum: number
): Result.Result<Duration.Duration, InvalidRegistration> => {
  const parsed = Option.getOrUndefined(Duration.fromInput(value))
  return parsed !== undefined && Duration.isFinite(parsed) && Duration.toMillis(parsed) >= minimum ?
    Result.succeed(parsed) :
    invalid(field, value, `it must be a finite duration of at least ${minimum} ms`)
}

const oneOf = <A extends string>(
  field: string,
  value: A,
  allowed: ReadonlyArray<A>
): Result.Result<A, InvalidRegistration> =>
  allowed.includes(value) ? Result.succeed(value) : invalid(field, value, `it must be one of ${allowed.join(", ")}`)

/** Whether a weight can be: finite and not negative. */
export const weightOf = (weight: number): Result.Result<number, InvalidRegistration> =>
  Number.isFinite(weight) && weight >= 0 ?
    Result.succeed(weight) :
    invalid("weight", weight, "it must be a finite number of at least 0")

const textOf = (field: string, value: unknown): Result.Result<string, InvalidRegistration> =>
  typeof value === "string" ? Result.succeed(value) : invalid(field, value, "it must be a string")

/** The members that an update changes, or the first that cannot be. What is `undefined` counts as left out. */
export const checkPatch = <M>(
  { metadata, status, version, weight }: InstancePatch<M>
): Result.Result<InstancePatch<M>, InvalidRegistration> =>
  Result.gen(function* () {
    return {
      ...(metadata === undefined ? {} : { metadata }),
      ...(weight === undefined ? {} : { weight: yield* weightOf(weight) }),
      ...(version === undefined ? {} : { version: yield* textOf("version", version) }),
      ...(status === undefined ? {} : { status: yield* oneOf("status", status, InstanceStatus.literals) })
    }
  })

/** The bytes of an instance, or why it cannot be registered. */
export const encode = <M>(
  codec: Codec<M>,
  instance: ServiceInstance<M>
): Result.Result<Uint8Array, InvalidRegistration> => {
  const value = codec.encode(instance)
  if (Result.isFailure(value)) {
    const { detail, member = "metadata" } = value.failure
    return invalid(member, instance[member], detail)
  }
  return value.success.length <= maxValueBytes ?
    Result.succeed(value.success) :
    invalid("value", `${value.success.length} bytes`, `an instance must encode to at most ${maxValueBytes} bytes`)
}

/** The bytes with a status that an option publishes; refuses it where the format of the service does not know that. */
const saying = <M>(
  codec: Codec<M>,
  instance: ServiceInstance<M>,
  option: "drain" | "health",
  value: unknown,
  status: InstanceStatus
): Result.Result<Uint8Array, InvalidRegistration> =>
  Result.mapError(
    encode(codec, { ...instance, status }),
    ({ rule }) => new InvalidRegistration({ field: option, value, rule: `it publishes "${status}", and ${rule}` })
  )

/** The id that whoever discovers reads from a value. */
const idIn = <M>(
  codec: Codec<M>,
  { id, name }: ServiceInstance<M>,
  value: Uint8Array
): Result.Result<string, InvalidRegistration> =>
  Result.mapBoth(codec.decode(name, id, value), {
    onSuccess: (read) => read.id,
    onFailure: ({ detail }) => new InvalidRegistration({ field: "id", value: id, rule: detail })
  })

const defaultStartupTimeout = Duration.seconds(15)
const defaultReleaseTimeout = Duration.seconds(5)

/** Checks a registration before anything is sent. */
export const plan = <M>(
  keyspace: Layout,
  service: Service<M>,
  options: InstanceOptions<M>
): Effect.Effect<RegistrationPlan<M>, InvalidRegistration> =>
  Effect.try({ try: () => check(keyspace, service, options), catch: refusalOf })

const refusalOf = (thrown: unknown): InvalidRegistration => {
  if (thrown instanceof InvalidRegistration) return thrown
  throw thrown
}

/** Throws the first refusal: with a generator, resumed for each of these checks, they allocated a third more. */
const check = <M>(keyspace: Layout, service: Service<M>, options: InstanceOptions<M>): RegistrationPlan<M> => {
  const layout = layoutOf(service, keyspace)
  const name = Result.getOrThrowWith(
    layout.checkName(service.name),
    (rule) => new InvalidRegistration({ field: "name", value: service.name, rule })
  )
  if (!Array.isArray(options.endpoints) || options.endpoints.length === 0) {
    return Result.getOrThrow(invalid("endpoints", options.endpoints, "at least one endpoint is needed"))
  }
  const endpoints: Array<string> = []
  for (const [index, text] of options.endpoints.entries()) {
    endpoints.push(
      Result.getOrThrowWith(
        endpoint(String(text)),
        (rule) => new InvalidRegistration({ field: `endpoints[${index}]`, value: text, rule })
      )
    )
  }
  const id = Result.getOrThrowWith(
    layout.checkId(options.id ?? layout.newId(name, endpoints)),
    (rule) => new InvalidRegistration({ field: "id", value: options.id, rule })
  )
  const ttl = Result.getOrThrowWith(
    Ttl.make(options.ttl ?? Ttl.defaultTtl, options.heartbeat),
    (error) => new InvalidRegistration(error)
  )
  const threshold = options.healthThreshold ?? 3
  if (!Number.isInteger(threshold) || threshold < 1) {
    return Result.getOrThrow(invalid("healthThreshold", threshold, "it must be a whole number of at least 1"))
  }
  const healthEvery = Result.getOrThrow(duration("healthEvery", options.healthEvery ?? ttl.heartbeat, 1))
  const instance: ServiceInstance<M> = {
    id,
    name,
    ...(options.version === undefined ? {} : { version: Result.getOrThrow(textOf("version", options.version)) }),
    // The schema decides whether metadata may be left out.
    metadata: options.metadata === undefined ? {} as M : options.metadata,
    endpoints,
    weight: Result.getOrThrow(weightOf(options.weight ?? layout.defaultWeight ?? 1)),
    ...(options.zone === undefined ? {} : { zone: Result.getOrThrow(textOf("zone", options.zone)) }),
    status: "up"
  }
  const up = Result.getOrThrow(encode(service.codec, instance))
  const drain = Result.getOrThrow(duration("drain", options.drain ?? Duration.zero, 0))
  if (!Duration.isZero(drain)) Result.getOrThrow(saying(service.codec, instance, "drain", drain, "draining"))
  const value = options.health === undefined ?
    up :
    Result.getOrThrow(saying(service.codec, instance, "health", "a check", "starting"))
  return {
    key: layout.key(name, id),
    codec: service.codec,
    instance: {
      ...instance,
      id: layout.hasTwins === true ? Result.getOrThrow(idIn(service.codec, instance, up)) : id,
      status: options.health === undefined ? "up" : "starting"
    },
    value,
    ttl,
    retry: options.retry ?? Backoff.reregister,
    claim: Result.getOrThrow(oneOf("claim", options.claim ?? "restart", ["restart", "exclusive", "overwrite"])),
    startup: Result.getOrThrow(oneOf("startup", options.startup ?? "await", ["await", "background"])),
    startupTimeout: Result.getOrThrow(duration("startupTimeout", options.startupTimeout ?? defaultStartupTimeout, 1)),
    drain,
    releaseTimeout: Result.getOrThrow(duration("releaseTimeout", options.releaseTimeout ?? defaultReleaseTimeout, 1)),
    health: options.health === undefined ?
      Option.none() :
      Option.some({ check: options.health, every: healthEvery, threshold })
  }
}
