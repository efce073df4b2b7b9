/**
 * Some instances only.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, make, type Strategy } from "../Strategy.ts"

/**
 * Only instances that satisfy a predicate (a version, a tag of the metadata), which is asked once for each change of an
 * instance. When none does, none is chosen. The predicate must not throw: that would be a defect of whoever takes the
 * set.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.roundRobin.pipe(Balancer.filter(({ version }) => version === "2.0.0"))
 * assert.equal(strategy.name, "filter(roundRobin)")
 * ```
 */
export const filter =
  <M = unknown>(predicate: (instance: ServiceInstance<M>) => boolean) => <N>(strategy: Strategy<N>): Strategy<M & N> =>
    make<M & N>(
      `filter(${strategy.name})`,
      <K extends M & N>() =>
        Result.map(strategy.make<K>(), (chooser): Chooser<K> => ({
          put: (instance, available, now) =>
            predicate(instance) ? chooser.put(instance, available, now) : chooser.remove(instance.id, now),
          remove: (id, now) => chooser.remove(id, now),
          pick: (request) => chooser.pick(request),
          begin: (id, now) => chooser.begin(id, now),
          inspect: (now) => chooser.inspect(now)
        }))
    )
