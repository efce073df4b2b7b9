/**
 * The instance that holds a key, read from its value.
 *
 * @module
 */
import { Option, Result } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import { withoutUserInfo } from "../../internal/text/userInfo.ts"
import * as Codec from "../model/Codec.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import type { RegistrationPlan } from "./RegisterOptions.ts"
import type { InstanceIdTaken } from "./RegistrationError.ts"

/** The instance whose key is read: its name and id, and the codec of its service. */
export type KeyOwner<M> = Pick<RegistrationPlan<M>, "codec" | "instance" | "key">

/** The instance that a value of the key describes, or `undefined` if it describes none. */
export const instanceIn = <M>(
  { codec, instance: { id, name } }: KeyOwner<M>,
  value: Uint8Array
): ServiceInstance<M> | undefined => Option.getOrUndefined(Result.getSuccess(Codec.decode(codec, name, id, value)))

/** The holder of the key. */
export const holderOf = <M>(owner: KeyOwner<M>, kv: KeyValue): InstanceIdTaken["by"] => {
  const { endpoints, version } = instanceIn(owner, kv.value) ?? {}
  return {
    leaseId: kv.lease,
    revision: kv.modRevision,
    ...(endpoints === undefined ? {} : { endpoints: endpoints.map(withoutUserInfo) }),
    ...(version === undefined ? {} : { version })
  }
}
