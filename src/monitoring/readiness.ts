/**
 * Readiness of a process, for `/readyz`.
 *
 * @module
 */
import { Effect } from "effect"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import type { InstanceStatus } from "../registry/model/Instance.ts"
import type { RegistrationStatus } from "../registry/registration/Registration.ts"

const NotRegisteredBase: TaggedErrorClass<"NotRegistered", {
  readonly key: string
  /** The status of the registration. */
  readonly status: RegistrationStatus["_tag"]
  /** The status that the instance publishes. */
  readonly instanceStatus: InstanceStatus
}> = TaggedErrorClass("NotRegistered")

/**
 * The instance is not in etcd, or its status is not `"up"`.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotRegistered extends NotRegisteredBase {
  override get message(): string {
    return `${
      JSON.stringify(this.key)
    } is not ready: its registration is ${this.status}, its status ${this.instanceStatus}`
  }
}

/**
 * The members of a `Registration` that readiness depends on.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegistrationLike {
  readonly key: string
  readonly instance: { readonly status: InstanceStatus }
  readonly status: { readonly get: Effect.Effect<RegistrationStatus> }
}

/**
 * Succeeds while an instance is registered and `"up"`.
 *
 * **When to use**
 *
 * Use as `ready`, so that a rolling update of Kubernetes waits until consumers can discover the new pod. Combine
 * several with `Effect.all`.
 *
 * @since 0.1.0
 * @category readiness
 */
export const registered = (registration: RegistrationLike): Effect.Effect<void, NotRegistered> =>
  Effect.flatMap(registration.status.get, (status) => {
    const { instance, key } = registration
    return status._tag === "Registered" && instance.status === "up" ?
      Effect.void :
      Effect.fail(new NotRegistered({ key, status: status._tag, instanceStatus: instance.status }))
  })
