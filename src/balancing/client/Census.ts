/**
 * Groups the instances of a service by the reason why they take no traffic.
 *
 * @module
 */
import type { InstanceSet, Rejected } from "../../registry/model/InstanceSet.ts"

/**
 * The instances of a service, grouped by the reason why they take no traffic.
 *
 * Each instance is in one list, except `passedOver`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Census {
  /** The ids of the instances that are up and have a weight. */
  readonly available: ReadonlyArray<string>
  /** The keys whose values are not instances of the service, with the reasons. */
  readonly rejected: ReadonlyArray<Rejected>
  readonly starting: ReadonlyArray<string>
  readonly draining: ReadonlyArray<string>
  readonly down: ReadonlyArray<string>
  /** Instances that are up with weight 0. */
  readonly weightless: ReadonlyArray<string>
  /** Instances that made the strategy throw (see `Balancer.failed`). They are also in `available`. */
  readonly passedOver: ReadonlyArray<string>
}

/** The census before the first set. */
export const empty: Census = {
  available: [],
  rejected: [],
  starting: [],
  draining: [],
  down: [],
  weightless: [],
  passedOver: []
}

/** Returns the census of a set. */
export const censusOf = <M>(set: InstanceSet<M>, failed: ReadonlyMap<string, unknown>): Census => {
  const ids = (status: string) => set.instances.filter((one) => one.status === status).map(({ id }) => id)
  return {
    available: set.available.map(({ id }) => id),
    rejected: set.rejected,
    starting: ids("starting"),
    draining: ids("draining"),
    down: ids("down"),
    weightless: set.instances.filter(({ status, weight }) => status === "up" && !(weight > 0)).map(({ id }) => id),
    passedOver: Array.from(failed.keys())
  }
}

const maxNames = 3

/** Describes the census, for example `2 of 3 are draining: a, b; 1 is rejected: /services/orders/c: …`. */
export const describeCensus = (census: Census): string => {
  const list = (what: string, names: ReadonlyArray<string>): ReadonlyArray<string> =>
    names.length === 0 ?
      [] :
      [`${names.length} ${what}: ${names.slice(0, maxNames).join(", ")}${names.length > maxNames ? ", …" : ""}`]
  const texts = [
    ...list("rejected", census.rejected.map(({ error, key }) => `${key} (${error.message.slice(0, 200)})`)),
    ...list("starting", census.starting),
    ...list("draining", census.draining),
    ...list("down", census.down),
    ...list("with weight 0", census.weightless),
    ...list("that the strategy threw on", census.passedOver),
    ...list("available", census.available)
  ]
  return texts.length === 0 ? "none is registered" : texts.join("; ")
}
