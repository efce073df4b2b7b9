/**
 * Restricts a strategy to a part of the instances.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { make, type Picker, type Strategy } from "../Strategy.ts"

/**
 * Limits a strategy to the instances that satisfy a predicate, such as a version.
 *
 * **Details**
 *
 * The predicate runs once for each change of an instance. If no instance satisfies it, no instance is picked.
 *
 * **Gotchas**
 *
 * If the predicate throws, the balancer skips the instance and retries with the next set, and every second while it
 * picks. A service client logs the exception.
 *
 * **Example**
 *
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.roundRobin.pipe(Balancer.filter(({ version }) => version === "2.0.0"))
 * assert.equal(strategy.name, "filter(roundRobin)")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const filter =
  <M = unknown>(predicate: (instance: ServiceInstance<M>) => boolean) => <N>(strategy: Strategy<N>): Strategy<M & N> =>
    make<M & N>(
      `filter(${strategy.name})`,
      <K extends M & N>() =>
        Result.map(strategy.make<K>(), (picker): Picker<K> => ({
          put: (instance, available, now) =>
            predicate(instance) ? picker.put(instance, available, now) : picker.remove(instance.id, now),
          remove: (id, now) => picker.remove(id, now),
          pick: (request) => picker.pick(request),
          begin: (id, now) => picker.begin(id, now),
          inspect: (now) => picker.inspect(now)
        }))
    )
