/**
 * A set of instances as a plain object.
 *
 * @since 0.1.0
 * @module
 */
import { Option } from "effect"
import { withJson } from "../internal/json.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import type { Labels, ServiceInstance } from "../registry/model/Instance.ts"

/**
 * The complete set of a service's instances at one revision of etcd.
 *
 * @since 0.1.0
 * @category models
 */
export interface Instances<M = Labels> extends Iterable<ServiceInstance<M>> {
  readonly revision: bigint
  /** True while etcd is unreachable. The set is then the last one known. */
  readonly isStale: boolean
  /** All instances, ordered by id. */
  readonly instances: ReadonlyArray<ServiceInstance<M>>
  /** Those to send traffic to: `"up"` with a weight above 0, ordered by id. */
  readonly available: ReadonlyArray<ServiceInstance<M>>
  /** The endpoints of `available`, in its order. */
  readonly endpoints: ReadonlyArray<string>
  /** Keys whose values are not valid instances, with the rule that each breaks. */
  readonly rejected: ReadonlyArray<{ readonly key: string; readonly reason: string }>
  readonly get: (id: string) => ServiceInstance<M> | undefined
}

/** Arrays are built when they are first read, so that applying a change costs O(changed instances). */
export const fromSet = <M>(set: InstanceSet<M>): Instances<M> =>
  withJson({
    revision: set.revision,
    isStale: set.freshness._tag === "Stale",
    get instances() {
      return set.instances
    },
    get available() {
      return set.available
    },
    get endpoints() {
      return set.endpoints
    },
    get rejected() {
      return set.rejected.map(({ error, key }) => ({ key, reason: error.message }))
    },
    get: (id) => Option.getOrUndefined(set.get(id)),
    [Symbol.iterator]: () => set.instances[Symbol.iterator]()
  })
