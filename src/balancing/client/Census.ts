/**
 * The instances of a service by why they take no traffic.
 *
 * @module
 */
import type { InstanceSet, Rejected } from "../../registry/model/InstanceSet.ts"

/**
 * The instances of a service by why they take no traffic. Each instance is in one list.
 *
 * @since 0.1.0
 * @category models
 */
export interface Census {
  /** The ids of the instances that are up and have a weight. */
  readonly available: ReadonlyArray<string>
  /** The keys whose values are no instances of the service, with the reason of each. */
  readonly rejected: ReadonlyArray<Rejected>
  readonly starting: ReadonlyArray<string>
  readonly draining: ReadonlyArray<string>
  readonly down: ReadonlyArray<string>
  /** Up, with the weight 0. */
  readonly weightless: ReadonlyArray<string>
  /** Those that the strategy threw on (see `Balancer.failed`). They are in `available`, too. */
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

/** The census of a set. */
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

/** The census in words, such as `2 of 3 are draining: a, b; 1 is rejected: /services/orders/c: …`. */
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
