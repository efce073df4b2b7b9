/**
 * The options of discovery, their defaults, and their checks.
 *
 * @module
 */
import type { Duration, Schedule } from "effect"
import * as Backoff from "../../etcd/Backoff.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { Check } from "../../internal/options.ts"
import { maxValueBytes } from "../model/Codec.ts"
import type { AnyService } from "../model/Service.ts"
import { serviceName } from "../model/ServiceName.ts"
import type { MassLossProtection } from "./Protection.ts"

/**
 * Which values count as instances.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadOptions {
  /**
   * What a key without a lease is: `"reject"` lists it in `rejected`, because nothing would remove it; `"accept"` takes
   * it as a static instance that an operator wrote. Default: `"reject"`.
   */
  readonly leaseless?: "reject" | "accept"
  /** The largest value in bytes that is decoded, up to 1 MiB. A larger one is rejected. Default: 128 KiB. */
  readonly maxValueBytes?: number
}

/**
 * How a service is followed. The layer of the registry can set other defaults.
 *
 * @since 0.1.0
 * @category options
 */
export interface DiscoverOptions extends ReadOptions {
  /** How long a watch may be silent before etcd is probed. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to answer a probe. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
  /** How often, on average, keys and revisions are compared with etcd as a backstop. Default: 5 minutes. */
  readonly reconcileEvery?: Duration.Input
  /** The backoff after a failure. Default: `Backoff.standard`. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /** Keeps instances when too many of them vanish at once. Default: off. */
  readonly protect?: MassLossProtection
}

/** {@link ReadOptions} with their defaults. */
export type ReadSettings = Required<ReadOptions>

/** {@link DiscoverOptions} with their defaults. */
export interface Settings extends ReadSettings {
  readonly progressEvery: Duration.Duration
  readonly progressTimeout: Duration.Duration
  readonly reconcileEvery: Duration.Duration
  readonly retry: Schedule.Schedule<unknown, EtcdError>
  readonly protect: MassLossProtection | undefined
}

/** Checks which values count as instances. */
export const checkReading = (check: Check, options: ReadOptions): ReadSettings => ({
  leaseless: check.oneOf("leaseless", options.leaseless ?? "reject", ["reject", "accept"]),
  maxValueBytes: check.number("maxValueBytes", options.maxValueBytes ?? 128 * 1024, {
    min: 1,
    max: maxValueBytes,
    whole: true
  })
})

/** Checks the options of discovery and adds their defaults. */
export const checkSettings = (check: Check, options: DiscoverOptions): Settings => {
  const { protect } = options
  if (protect !== undefined) {
    check.object("protect", protect)
    check.duration("protect.hold", protect.hold)
    check.number("protect.maxLoss", protect.maxLoss, { min: 0, max: 1 })
  }
  return {
    ...checkReading(check, options),
    progressEvery: check.duration("progressEvery", options.progressEvery ?? "10 seconds"),
    progressTimeout: check.duration("progressTimeout", options.progressTimeout ?? "5 seconds"),
    reconcileEvery: check.duration("reconcileEvery", options.reconcileEvery ?? "5 minutes"),
    retry: check.schedule("retry", options.retry ?? Backoff.standard),
    protect
  }
}

/** Checks the name of a service by the rules of its format. */
export const checkName = (check: Check, { codec: { layout }, name }: AnyService): string =>
  check.valid("service", name, layout === undefined ? serviceName(name) : layout.checkName(name))
