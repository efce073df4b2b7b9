/**
 * The errors of a registration.
 *
 * @since 0.1.0
 * @module
 */
import type { Cause, Duration } from "effect"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { type InvalidOption, show } from "../../internal/options.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"
import { formatDuration } from "../../internal/time/format.ts"

const InstanceIdTakenBase: TaggedErrorClass<"InstanceIdTaken", {
  readonly key: string
  /** The instance that holds the key. */
  readonly by: {
    /** The lease of the key; `0n` if it has none. */
    readonly leaseId: LeaseId
    /** The revision of the last write to the key. */
    readonly revision: bigint
    /** Its endpoints with "…" in place of user names and passwords, if its value can be decoded. */
    readonly endpoints?: ReadonlyArray<string>
    /** Its version, if its value has one. */
    readonly version?: string
  }
}> = TaggedErrorClass("InstanceIdTaken")

/**
 * Another process holds the id.
 *
 * **Details**
 *
 * Change `id`, stop the other process, or register with `claim: "overwrite"`. A key without a lease does not expire: an
 * operator wrote it, and must delete it.
 *
 * @since 0.1.0
 * @category errors
 */
export class InstanceIdTaken extends InstanceIdTakenBase {
  override get message(): string {
    const { endpoints, leaseId, revision, version } = this.by
    const holder = endpoints === undefined ? "another value" : show(endpoints.join(", "))
    const of = version === undefined ? "" : ` version ${show(version)}`
    const key = JSON.stringify(this.key)
    return leaseId === 0n ?
      `cannot register ${key}: the key exists without a lease, with ${holder}${of} since revision ${revision}. ` +
      `It never expires. Delete it (etcdctl del ${key}), or use claim: "overwrite".` :
      `cannot register ${key}: it is held by ${holder}${of} under lease ${leaseId.toString(16)} since revision ` +
      `${revision}. An id belongs to one process at a time. Choose another id, or stop the other process.`
  }
}

const RegistrationRefusedBase: TaggedErrorClass<"RegistrationRefused", {
  readonly key: string
  readonly cause: EtcdError | RegistrationLost | Cause.UnknownError
}> = TaggedErrorClass("RegistrationRefused")

/**
 * etcd refused the registration, a finite `retry` ended, or user code died.
 *
 * If user code died, the `cause` is an `UnknownError`, which has the defect as its own cause.
 *
 * @since 0.1.0
 * @category errors
 */
export class RegistrationRefused extends RegistrationRefusedBase {
  override get message(): string {
    return `cannot register ${JSON.stringify(this.key)}: ${this.cause.message}`
  }
}

const StartupTimeoutBase: TaggedErrorClass<"StartupTimeout", {
  readonly key: string
  /** The `startupTimeout`. */
  readonly after: Duration.Duration
  /** The last failure; missing if etcd did not answer. */
  readonly cause?: EtcdError
}> = TaggedErrorClass("StartupTimeout")

/**
 * The key was not in etcd within `startupTimeout`.
 *
 * @since 0.1.0
 * @category errors
 */
export class StartupTimeout extends StartupTimeoutBase {
  override get message(): string {
    return `cannot register ${JSON.stringify(this.key)}: not in etcd after ${formatDuration(this.after)} ` +
      `(startupTimeout). ${this.cause?.message ?? "etcd did not answer"}. ` +
      `Use startup: "background" to continue without waiting.`
  }
}

/**
 * What `registerService` and a registration fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type RegistrationError = InvalidOption | InstanceIdTaken | RegistrationRefused | StartupTimeout

const RegistrationLostBase: TaggedErrorClass<"RegistrationLost", { readonly key: string }> = TaggedErrorClass(
  "RegistrationLost"
)

/**
 * The key of a registration was deleted, or returned to an older value, while its lease was alive.
 *
 * @since 0.1.0
 * @category errors
 */
export class RegistrationLost extends RegistrationLostBase {
  override get message(): string {
    return `${JSON.stringify(this.key)} was deleted or replaced`
  }
}
