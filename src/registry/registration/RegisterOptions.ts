/**
 * The options of `registerService`, and the check of them.
 *
 * @since 0.1.0
 * @module
 */
import { Duration, type Effect, Option, Result, type Schedule } from "effect"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { type Codec, decode, encode as encodeInstance, maxValueBytes } from "../model/Codec.ts"
import { endpoint } from "../model/Endpoint.ts"
import { advertise, advertised, checkAddress, processVariable } from "./advertise.ts"
import { InstanceStatus, type Labels, maxWeight, type ServiceInstance } from "../model/Instance.ts"
import { type Layout, layoutOf } from "../model/Layout.ts"
import type { Service } from "../model/Service.ts"
import * as Backoff from "../../etcd/Backoff.ts"
import * as Ttl from "../../etcd/Ttl.ts"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import { withoutUserInfo } from "../../internal/text/userInfo.ts"
import type { RegistrationLost } from "./RegistrationError.ts"

/**
 * What to do if the id is already in etcd.
 *
 * **Details**
 *
 * - `"restart"`: the same endpoints mean an earlier run of this process: take over at once. With other endpoints wait up
 *   to one TTL for that lease to expire, then fail with `InstanceIdTaken`.
 * - `"exclusive"`: fail with `InstanceIdTaken`.
 * - `"overwrite"`: take over.
 *
 * @since 0.1.0
 * @category options
 */
export type ClaimPolicy = "restart" | "exclusive" | "overwrite"

/**
 * How a registration is kept. The layer of the registry sets the defaults of all its registrations.
 *
 * @since 0.1.0
 * @category options
 */
export interface RegistrationPolicy {
  /**
   * The host that replaces `0.0.0.0`, `[::]` and an empty host in `endpoints`. Default: the variable
   * `ADVERTISE_ADDRESS`, then `POD_IP`, then the first address of this machine that is not loopback (IPv4 before IPv6).
   */
  readonly advertise?: string
  /** How long the instance stays in etcd without a heartbeat, rounded up to whole seconds, at least 2. Default: 15 seconds. */
  readonly ttl?: Duration.Input
  /** The time between heartbeats, at most half of `ttl`. Default: a third of it. */
  readonly heartbeat?: Duration.Input
  /** The backoff after a failure or a loss. Default: `Backoff.standard`, which never ends. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
  /** What to do if the id is already in etcd. Default: `"restart"`. */
  readonly claim?: ClaimPolicy
  /** `"await"` completes once the key is in etcd, `"background"` at once. Default: `"await"`. */
  readonly startup?: "await" | "background"
  /**
   * How long `"await"` waits for etcd. It does not include the wait of `claim: "restart"` for another lease to expire,
   * which takes one TTL at most. Default: 15 seconds.
   */
  readonly startupTimeout?: Duration.Input
  /** How long `"draining"` is published before the scope closes. Default: 0, which publishes nothing. */
  readonly drain?: Duration.Input
  /** How long the release may wait for etcd, in addition to `drain`. Default: 5 seconds. */
  readonly releaseTimeout?: Duration.Input
  /**
   * `"shared"` puts the key under one lease with all other shared registrations of the registry that have the same
   * `ttl`: one grant and one heartbeat for all. etcd then demands write permission on all their keys. Default: `"own"`.
   */
  readonly lease?: "own" | "shared"
}

/**
 * An instance, and how to keep it registered.
 *
 * **Details**
 *
 * `metadata` is required unless `{}` is valid metadata of the service.
 *
 * @since 0.1.0
 * @category options
 */
export type RegisterOptions<M = Labels> = RegistrationPolicy & {
  /**
   * Unique within the service, 1 to 253 bytes without `/` and control characters. A stable id lets a restarted process
   * take over at once. Default: random, unless the format of the service has another rule.
   */
  readonly id?: string
  /**
   * Absolute URLs that other hosts can reach, at least one. `host:port` means `tcp://host:port`. A host that means every
   * interface (`0.0.0.0`, `[::]`, none) becomes the address of `advertise`.
   */
  readonly endpoints: ReadonlyArray<string>
  /** The version of the program. Default: none. */
  readonly version?: string
  /** The share of the traffic, relative to other instances; 0 means none. Default: 1, unless the format has another. */
  readonly weight?: number
  /** Where the instance runs, for zone-aware balancing. Default: none. */
  readonly zone?: string
  /** Typed by the schema of the service, or strings by name. Default: `{}`. */
  readonly metadata?: M
  /** Sets the status: `"starting"` until it first succeeds, `"down"` after `healthThreshold` failures in a row. */
  readonly health?: Effect.Effect<unknown, unknown>
  /** The time between two checks, and the limit of one check. Default: `heartbeat`. */
  readonly healthEvery?: Duration.Input
  /** How many failures in a row mean `"down"`. Default: 3. */
  readonly healthThreshold?: number
} & (Record<never, never> extends M ? unknown : { readonly metadata: M })

/**
 * The members that `Registration.update` changes. A missing member stays as it is.
 *
 * @since 0.1.0
 * @category options
 */
export interface InstancePatch<M = Labels> {
  readonly metadata?: M
  readonly weight?: number
  readonly version?: string
  readonly status?: InstanceStatus
}

/** The options of one registration, checked. */
export interface RegistrationPlan<M> extends CheckedPolicy {
  readonly key: string
  readonly codec: Codec<M>
  readonly instance: ServiceInstance<M>
  /** `instance`, encoded. */
  readonly value: Uint8Array
  readonly health: Option.Option<{
    readonly check: Effect.Effect<unknown, unknown>
    readonly every: Duration.Duration
    readonly threshold: number
  }>
}

const weightOf = (check: Check, weight: number): number => check.number("weight", weight, { min: 0, max: maxWeight })

/** Checks an update. A member that is `undefined` counts as left out. */
export const checkPatch = <M>(patch: InstancePatch<M>): Result.Result<InstancePatch<M>, InvalidOption> =>
  checkOptions("Registration.update", (check) => {
    const { metadata, status, version, weight } = check.object("patch", patch)
    return {
      ...(metadata === undefined ? {} : { metadata }),
      ...(weight === undefined ? {} : { weight: weightOf(check, weight) }),
      ...(version === undefined ? {} : { version: check.text("version", version) }),
      ...(status === undefined ? {} : { status: check.oneOf("status", status, InstanceStatus.literals) })
    }
  })

/** The bytes of an instance after an update, or the member that breaks a rule. */
export const encode = <M>(
  codec: Codec<M>,
  instance: ServiceInstance<M>
): Result.Result<Uint8Array, InvalidOption> =>
  checkOptions("Registration.update", (check) => encodeWith(check, codec, instance))

const encodeWith = <M>(check: Check, codec: Codec<M>, instance: ServiceInstance<M>): Uint8Array => {
  const value = encodeInstance(codec, instance)
  if (Result.isFailure(value)) {
    const { detail, member = "metadata" } = value.failure
    return check.refuse(member, instance[member], detail)
  }
  const bytes = value.success
  return bytes.length <= maxValueBytes ?
    bytes :
    check.refuse("value", `${bytes.length} bytes`, `an instance must encode to at most ${maxValueBytes} bytes`)
}

/** The bytes with a status that an option publishes. Refuses the option if the format of the service lacks that status. */
const encodeWithStatus = <M>(
  check: Check,
  codec: Codec<M>,
  instance: ServiceInstance<M>,
  option: "drain" | "health",
  value: unknown,
  status: InstanceStatus
): Uint8Array => {
  const encoded = encode(codec, { ...instance, status })
  return Result.isSuccess(encoded) ?
    encoded.success :
    check.refuse(option, value, `it publishes "${status}", and ${encoded.failure.rule}`)
}

/** The id that a consumer reads from a value. */
const idIn = <M>(check: Check, codec: Codec<M>, { id, name }: ServiceInstance<M>, value: Uint8Array): string => {
  const read = decode(codec, name, id, value)
  return Result.isSuccess(read) ? read.success.id : check.refuse("id", id, read.failure.detail)
}

/** How a registration is kept, checked. */
export interface CheckedPolicy {
  readonly ttl: Ttl.Ttl
  readonly retry: Schedule.Schedule<unknown, EtcdError | RegistrationLost>
  readonly claim: ClaimPolicy
  readonly startup: "await" | "background"
  readonly startupTimeout: Duration.Duration
  readonly drain: Duration.Duration
  readonly releaseTimeout: Duration.Duration
  readonly lease: "own" | "shared"
}

/** Checks how a registration is kept. */
export const checkPolicy = (check: Check, policy: RegistrationPolicy): CheckedPolicy => {
  if (policy.advertise !== undefined) check.valid("advertise", policy.advertise, checkAddress(policy.advertise))
  return {
    ttl: Ttl.make(check, policy.ttl ?? Ttl.defaultTtl, policy.heartbeat),
    retry: check.schedule("retry", policy.retry ?? Backoff.standard),
    claim: check.oneOf("claim", policy.claim ?? "restart", ["restart", "exclusive", "overwrite"]),
    startup: check.oneOf("startup", policy.startup ?? "await", ["await", "background"]),
    startupTimeout: check.duration("startupTimeout", policy.startupTimeout ?? Duration.seconds(15)),
    drain: check.duration("drain", policy.drain ?? Duration.zero, { min: Duration.zero }),
    releaseTimeout: check.duration("releaseTimeout", policy.releaseTimeout ?? Duration.seconds(5)),
    lease: check.oneOf("lease", policy.lease ?? "own", ["own", "shared"])
  }
}

/** Checks the options of a registration before anything is sent. */
export const plan = <M>(
  keyspace: Layout,
  service: Service<M>,
  options: RegisterOptions<M>
): Result.Result<RegistrationPlan<M>, InvalidOption> =>
  checkOptions("registerService", (check) => checkRegistration(check, keyspace, service, options))

/** Calls a function at most once. */
const lazily = <A>(make: () => A): () => A => {
  let made: { readonly value: A } | undefined
  return () => (made ??= { value: make() }).value
}

const checkRegistration = <M>(
  check: Check,
  keyspace: Layout,
  service: Service<M>,
  options: RegisterOptions<M>
): RegistrationPlan<M> => {
  const layout = layoutOf(service, keyspace)
  const { codec } = service
  const name = check.valid("service", service.name, layout.checkName(service.name))
  if (!Array.isArray(options.endpoints) || options.endpoints.length === 0) {
    return check.refuse("endpoints", options.endpoints, "it must be a list of at least one endpoint")
  }
  const address = lazily(() => advertised({ option: options.advertise, variable: processVariable }))
  const endpoints = options.endpoints.map((text, index) =>
    check.valid(
      `endpoints[${index}]`,
      typeof text === "string" ? withoutUserInfo(text) : text,
      Result.flatMap(advertise(String(text), address), endpoint)
    )
  )
  const id = check.valid("id", options.id, layout.checkId(options.id ?? layout.newId(name, endpoints)))
  const policy = checkPolicy(check, options)
  const threshold = check.number("healthThreshold", options.healthThreshold ?? 3, { min: 1, whole: true })
  const every = check.duration("healthEvery", options.healthEvery ?? policy.ttl.heartbeat)
  const instance: ServiceInstance<M> = {
    id,
    name,
    ...(options.version === undefined ? {} : { version: check.text("version", options.version) }),
    // The schema decides whether metadata may be left out.
    metadata: options.metadata === undefined ? {} as M : options.metadata,
    endpoints,
    weight: weightOf(check, options.weight ?? layout.defaultWeight ?? 1),
    ...(options.zone === undefined ? {} : { zone: check.text("zone", options.zone) }),
    status: "up"
  }
  const up = encodeWith(check, codec, instance)
  if (!Duration.isZero(policy.drain)) encodeWithStatus(check, codec, instance, "drain", policy.drain, "draining")
  const isGated = options.health !== undefined
  return {
    ...policy,
    key: layout.key(name, id),
    codec,
    instance: {
      ...instance,
      id: layout.idFromValue === true ? idIn(check, codec, instance, up) : id,
      status: isGated ? "starting" : "up"
    },
    value: isGated ? encodeWithStatus(check, codec, instance, "health", "a check", "starting") : up,
    health: options.health === undefined ?
      Option.none() :
      Option.some({ check: check.effect("health", options.health), every, threshold })
  }
}
