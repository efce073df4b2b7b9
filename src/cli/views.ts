/**
 * Follows one service, or all services of the namespace, as one stream.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Freshness } from "../etcd/Freshness.ts"
import type { DiscoveryError } from "../registry/discovery/DiscoveryError.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import type { Registry } from "../registry/Registry.ts"
import { library } from "./load.ts"
import * as Target from "./target.ts"

/** The sets of one service, or of all, at one revision. Unchanged sets are the same objects as in the previous view. */
export interface View {
  readonly sets: ReadonlyMap<string, InstanceSet<unknown>>
  readonly freshness: Freshness
  readonly revision: bigint
}

/**
 * Follows one service, or all services without a name. Reads once first, because discovery waits for etcd: so the
 * command fails at once if etcd does not answer.
 */
export const views = Effect.fnUntraced(function* (
  service: Option.Option<string>,
  format: Target.Format
): Effect.fn.Return<Stream.Stream<View, DiscoveryError, Registry>, DiscoveryError, Registry> {
  const { discover, discoverAll, getInstances, listServices } = yield* library
  if (Option.isNone(service)) {
    yield* listServices()
    return Stream.map(discoverAll(), (catalog): View => ({
      sets: new Map(catalog),
      freshness: catalog.freshness,
      revision: catalog.revision
    }))
  }
  const target = yield* Target.serviceOf(service.value, format)
  yield* getInstances(target)
  return Stream.map(discover(target), (set): View => ({
    sets: new Map([[service.value, set]]),
    freshness: set.freshness,
    revision: set.revision
  }))
})
