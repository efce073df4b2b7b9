/**
 * Why a registration could not be made or kept.
 *
 * @module
 */
import { Data, Duration } from "effect"
import type { LeaseId } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { InvalidOption } from "../../internal/options.ts"
import type { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

/** Who holds a key. */
export interface Holder {
  /** `0n`: the key was put without a lease. */
  readonly leaseId: LeaseId
  /** The revision at which it was put. */
  readonly revision: bigint
}

const InstanceIdTakenBase: TaggedErrorClass<"InstanceIdTaken", {
  readonly key: string
  readonly by: Holder
}> = Data.TaggedError("InstanceIdTaken")

/** Another process holds this id. */
export class InstanceIdTaken extends InstanceIdTakenBase {
  override get message(): string {
    return `cannot register ${JSON.stringify(this.key)}: it is held under lease ${
      this.by.leaseId.toString(16)
    } since ` +
      `revision ${this.by.revision}; an id belongs to one process at a time: choose another, or stop the other process`
  }
}

const RegistrationRefusedBase: TaggedErrorClass<"RegistrationRefused", {
  readonly key: string
  readonly cause: EtcdError | RegistrationLost
}> = Data.TaggedError("RegistrationRefused")

/** etcd refused, or a finite `retry` ran out. */
export class RegistrationRefused extends RegistrationRefusedBase {
  override get message(): string {
    return `cannot register ${JSON.stringify(this.key)}: ${this.cause.message}`
  }
}

const StartupTimeoutBase: TaggedErrorClass<"StartupTimeout", {
  readonly key: string
  readonly after: Duration.Duration
  /** The last failure, if there was an answer at all. */
  readonly cause?: EtcdError
}> = Data.TaggedError("StartupTimeout")

/** The key was not in etcd within `startupTimeout`. */
export class StartupTimeout extends StartupTimeoutBase {
  override get message(): string {
    return `cannot register ${JSON.stringify(this.key)}: etcd did not take it within ${Duration.format(this.after)} ` +
      `(startupTimeout); ${this.cause?.message ?? "it did not answer"}; with startup: "background" this is not awaited`
  }
}

/** What `registerService` and a registration fail with. */
export type RegistrationError = InvalidOption | InstanceIdTaken | RegistrationRefused | StartupTimeout

const RegistrationLostBase: TaggedErrorClass<"RegistrationLost", { readonly key: string }> = Data.TaggedError(
  "RegistrationLost"
)

/** The key of a registration vanished, or went back to an older value, while its lease was still alive. */
export class RegistrationLost extends RegistrationLostBase {
  override get message(): string {
    return `${JSON.stringify(this.key)} was deleted or replaced`
  }
}
