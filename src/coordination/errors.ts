/**
 * Why a lock, a leadership or a permit was not acquired, or was lost.
 *
 * @module
 */
import type { Duration } from "effect"
import { formatDuration } from "../internal/time/format.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const LockLostBase: TaggedErrorClass<"LockLost", {
  /** The name of the lock, election or semaphore. */
  readonly target: string
  /** The key in etcd. */
  readonly key: string
  /** The cause of the loss, in one sentence. */
  readonly detail: string
  readonly cause?: EtcdError
}> = TaggedErrorClass("LockLost")

/**
 * The lock, leadership or permit is lost: its lease may have expired, or its key was deleted.
 *
 * Another process may hold it by now.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLost extends LockLostBase {
  override get message(): string {
    return `lost ${JSON.stringify(this.target)} (key ${JSON.stringify(this.key)}): ${this.detail}. Acquire it again.`
  }
}

const LockTimeoutBase: TaggedErrorClass<"LockTimeout", {
  /** The name of the lock, election or semaphore. */
  readonly target: string
  readonly after: Duration.Duration
}> = TaggedErrorClass("LockTimeout")

/**
 * The lock, leadership or permit was not acquired within `timeout`. Nothing remains in etcd.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockTimeout extends LockTimeoutBase {
  override get message(): string {
    return `cannot acquire ${JSON.stringify(this.target)}: not acquired after ${
      formatDuration(this.after)
    } (timeout). ` +
      "Wait longer, or try again later."
  }
}

const PermitsMismatchBase: TaggedErrorClass<"PermitsMismatch", {
  /** The name of the semaphore. */
  readonly target: string
  readonly permits: number
  /** What the other process wrote: its number of permits, or any other text. */
  readonly found: string
}> = TaggedErrorClass("PermitsMismatch")

/**
 * Another process uses a semaphore of this name with a different number of permits.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermitsMismatch extends PermitsMismatchBase {
  override get message(): string {
    return `cannot acquire a permit of ${
      JSON.stringify(this.target)
    }: permits is ${this.permits}, another process uses ` +
      `${this.found}. All processes must use the same number.`
  }
}
