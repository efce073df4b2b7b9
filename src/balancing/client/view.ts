/**
 * Reads the {@link State} of a service client.
 *
 * @module
 */
import { Option } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type { Health } from "./FailureAccrual.ts"
import type { Members } from "./Members.ts"
import type { RetryBudget } from "./RetryBudget.ts"
import type { InstanceState, State } from "./State.ts"

/** The state at this moment. */
export const view = <A, M>(members: Members<A, M>, budget: RetryBudget | undefined): State<M> => {
  const now = members.now()
  return {
    service: members.service,
    strategy: members.strategy,
    revision: Option.fromUndefinedOr(members.set?.revision),
    freshness: Option.fromUndefinedOr(members.set?.freshness),
    refused: Option.fromUndefinedOr(members.discoveryFailure),
    budget: budget?.available(now) ?? Infinity,
    ...members.totals,
    instances: (members.set?.instances ?? []).map((instance) => viewInstance(members, instance, now))
  }
}

const viewInstance = <A, M>(members: Members<A, M>, instance: ServiceInstance<M>, now: number): InstanceState<M> => {
  const member = members.get(instance.id)
  const health: Health = members.accrual?.health(instance.id) ?? { _tag: "Healthy" }
  const blockedMillis = (member?.connection.blockedUntil ?? 0) - now
  const ejectedMillis = health._tag === "Ejected" ? health.until - now : 0
  return {
    instance,
    client: member?.connection.status ?? "idle",
    requests: member?.requests ?? 0,
    failures: member?.failures ?? 0,
    inFlight: member?.inFlight ?? 0,
    ewma: Option.fromUndefinedOr(member?.ewma),
    health: health._tag === "Ejected" ?
      "ejected" :
      health._tag === "Probing" ?
      "probing" :
      blockedMillis > 0 ?
      "out" :
      "healthy",
    outFor: Math.max(0, blockedMillis, ejectedMillis),
    ejections: health._tag === "Healthy" ? 0 : health.times
  }
}
