/**
 * Effect Cluster's `RunnerHealth` on etcd: a runner is alive as long as its membership lease is.
 *
 * **When to use**
 *
 * With `EtcdRunnerStorage`. It needs no pings from runner to runner and no Kubernetes API.
 *
 * **Gotchas**
 *
 * A runner that reaches etcd but is not reachable by other runners, as behind a firewall, counts as alive. If that can
 * happen, use Effect's `RunnerHealth.layerPing`.
 *
 * @stability unstable
 * @module
 */
import { Effect, Layer } from "effect"
import { RunnerHealth } from "effect/cluster"
import { Etcd } from "../etcd/Etcd.ts"
import { keyPrefix } from "../internal/keyPrefix.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { defaultPrefix, type Options } from "./EtcdRunnerStorage.ts"
import * as Keys from "./keys.ts"

/**
 * `RunnerHealth` on etcd. Use the prefix of the `EtcdRunnerStorage`.
 *
 * **Details**
 *
 * Each check is one linearizable read. If it fails, the runner counts as alive: an outage of etcd must not move shards.
 * Fails with `InvalidOption` for a bad `prefix`.
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<RunnerHealth.RunnerHealth, InvalidOption, Etcd> =>
  Layer.effect(
    RunnerHealth.RunnerHealth,
    Effect.gen(function* () {
      const prefix = yield* Effect.fromResult(
        checkOptions("EtcdRunnerHealth", (check) => keyPrefix(check, options.prefix ?? defaultPrefix))
      )
      const keys = Keys.make(prefix)
      const etcd = yield* Etcd
      return RunnerHealth.RunnerHealth.of({
        isAlive: ({ host, port }) =>
          etcd.range({ key: keys.runner(`${host}:${port}`), countOnly: true }).pipe(
            Effect.match({ onSuccess: ({ count }) => count > 0n, onFailure: () => true }),
            Effect.withTracerEnabled(false)
          )
      })
    })
  )
