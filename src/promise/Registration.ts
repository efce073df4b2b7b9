/**
 * A registration behind promises.
 *
 * @since 0.1.0
 * @module
 */
import type { Duration } from "effect"
import type { Labels, ServiceInstance } from "../registry/model/Instance.ts"
import type { InstancePatch, RegisterOptions as EffectOptions } from "../registry/registration/RegisterOptions.ts"
import type { ClientError } from "./ClientError.ts"

/**
 * The options of `registerService` without Effect types.
 *
 * **Details**
 *
 * Durations are numbers of milliseconds or texts such as `"15 seconds"`.
 *
 * @since 0.1.0
 * @category options
 */
export type RegisterOptions<M = Labels> =
  & Omit<EffectOptions<M>, "health" | "retry" | DurationOption | "metadata">
  & {
    readonly [K in DurationOption]?: number | Duration.DurationObject | `${number} ${string}`
  }
  & {
    /**
     * Sets the status: `"starting"` until the promise first resolves, `"down"` after `healthThreshold` rejections in a
     * row. The signal ends when a check takes longer than `healthEvery`.
     */
    readonly health?: (signal: AbortSignal) => PromiseLike<unknown>
  }
  & (Record<never, never> extends M ? { readonly metadata?: M } : { readonly metadata: M })

/**
 * The options of a registration that are durations.
 *
 * @since 0.1.0
 * @category options
 */
export type DurationOption = "ttl" | "heartbeat" | "startupTimeout" | "drain" | "releaseTimeout" | "healthEvery"

/**
 * Where a registration stands.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "registering" | "registered" | "recovering" | "superseded" | "draining" | "failed" | "released"

/**
 * An instance that is kept in etcd until {@link Registration.release}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registration<M = Labels> extends AsyncDisposable {
  readonly key: string
  /** The instance as it is in etcd, or as it will be after the pending write. */
  readonly instance: ServiceInstance<M>
  readonly status: Status
  /** Changes the instance in one transaction. Resolves when it is in etcd. */
  readonly update: (patch: InstancePatch<M>) => Promise<void>
  /** Publishes `"draining"`. Resolves when that is in etcd. */
  readonly drain: () => Promise<void>
  /** Deletes the key and revokes the lease. Never rejects, and may be called twice. */
  readonly release: () => Promise<void>
  /** Calls the listener with each later status, until the returned function is called. */
  readonly onStatus: (listener: (status: Status) => void) => () => void
  /** Calls the listener once if the registration ends without a release: another process took the id, or etcd refused. */
  readonly onFailure: (listener: (error: ClientError) => void) => () => void
}
