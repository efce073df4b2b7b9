/**
 * Random campaigns: what clients do and what befalls them, drawn from a seed, played in a world of its own and judged by
 * the oracle. A campaign is plain data, so a failing one can be made shorter by leaving steps out.
 *
 * @module
 */
import { Effect } from "effect"
import { pause } from "../harness/real.ts"
import { randomOf } from "../registration/support.ts"
import type { Fault } from "./Fault.ts"
import type { Process, Registrant } from "./Process.ts"
import type { World } from "./World.ts"

/** Numbers choose among what is there at that moment. */
export type Step =
  | { readonly kind: "register"; readonly process: number; readonly background: boolean }
  | { readonly kind: "update" | "release"; readonly which: number }
  | { readonly kind: "subscribe" | "follow"; readonly process: number }
  | { readonly kind: "unsubscribe"; readonly which: number }
  | { readonly kind: "delete" | "revoke"; readonly which: number }
  | { readonly kind: "compact" | "reset" | "wipe" }
  | {
    readonly kind: "kill" | "stop" | "refuse" | "cut" | "cut up" | "cut down" | "slow" | "slice"
    readonly for: number
  }

/** A step and the milliseconds to wait before it. Steps of the two lanes happen beside each other. */
export interface Planned {
  readonly lane: "clients" | "faults"
  readonly after: number
  readonly step: Step
}

const ttl = 3
const clients = 3

/** How often each kind is drawn. */
const asked: ReadonlyArray<readonly [Step["kind"], number]> = [
  ["register", 5],
  ["update", 6],
  ["release", 3],
  ["subscribe", 2],
  ["follow", 1],
  ["unsubscribe", 2]
]
const befalling: ReadonlyArray<readonly [Step["kind"], number]> = [
  ["reset", 4],
  ["kill", 3],
  ["stop", 3],
  ["refuse", 2],
  ["cut", 2],
  ["cut up", 2],
  ["cut down", 2],
  ["slow", 2],
  ["slice", 1],
  ["delete", 2],
  ["revoke", 2],
  ["compact", 3],
  ["wipe", 1]
]

/** The campaign of a seed: about so many seconds. */
export const campaignOf = (seed: number, seconds: number): ReadonlyArray<Planned> => {
  const random = randomOf(seed)
  const upTo = (limit: number) => Math.floor(random() * limit)
  const draw = (table: ReadonlyArray<readonly [Step["kind"], number]>): Step["kind"] => {
    let left = upTo(table.reduce((sum, [, weight]) => sum + weight, 0))
    return table.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "reset"
  }
  const stepOf = (kind: Step["kind"]): Step => {
    switch (kind) {
      case "register":
        return { kind, process: upTo(clients), background: random() < 0.3 }
      case "subscribe":
      case "follow":
        return { kind, process: upTo(clients) }
      case "update":
      case "release":
      case "unsubscribe":
      case "delete":
      case "revoke":
        return { kind, which: upTo(1000) }
      case "compact":
      case "reset":
      case "wipe":
        return { kind }
      default:
        // Sometimes shorter than anybody notices, sometimes longer than a lease lives.
        return { kind, for: Math.round(100 * 60 ** random()) }
    }
  }
  const lane = (name: Planned["lane"], table: ReadonlyArray<readonly [Step["kind"], number]>, every: number) => {
    const planned: Array<Planned> = []
    for (let time = 0; time < seconds * 1000;) {
      const after = upTo(2 * every)
      const step = stepOf(draw(table))
      planned.push({ lane: name, after, step })
      time += after + ("for" in step ? step.for : 0)
    }
    return planned
  }
  return [...lane("clients", asked, 400), ...lane("faults", befalling, 1500)]
}

const pick = <A>(all: ReadonlyArray<A>, which: number): A | undefined => all[which % Math.max(1, all.length)]

/** A campaign as a fault like any other. */
export const campaign = (title: string, plan: ReadonlyArray<Planned>): Fault => ({
  id: "chaos",
  title,
  ttl,
  stage: Effect.fnUntraced(function* (world) {
    const looking = yield* world.connect("looking")
    yield* looking.subscribe()
    yield* looking.follow()
    for (let client = 0; client < clients; client++) yield* world.connect(`client${client}-`)
    yield* world.processes[1]?.register() ?? Effect.void
  }),
  run: Effect.fnUntraced(function* (world: World) {
    const registrants: Array<Registrant> = []
    const subscriptions: Array<Effect.Effect<void>> = []
    let round = 0
    const processes: ReadonlyArray<Process> = world.processes.slice(1)
    const { proxy, server } = world

    const outage = (
      kind: string,
      milliseconds: number,
      begin: Effect.Effect<unknown, unknown>,
      heal: Effect.Effect<unknown, unknown>
    ) => world.during(kind, { cuts: true }, begin, pause(milliseconds), heal)
    const moment = (kind: string, effect: Effect.Effect<unknown, unknown>) =>
      world.during(kind, {}, effect, Effect.void, Effect.void)
    const keys = Effect.map(
      world.operator.read(`${world.promised.namespace}/${world.service}/client`),
      ({ found }) => found.filter(({ lease }) => lease !== 0n)
    )

    const act = (step: Step): Effect.Effect<unknown, unknown> => {
      switch (step.kind) {
        case "register":
          return Effect.suspend(() =>
            Effect.map(
              pick(processes, step.process)?.register({ startup: step.background ? "background" : "await" }) ??
                Effect.void,
              (registrant) => registrant === undefined ? undefined : registrants.push(registrant)
            )
          )
        case "update":
          return pick(registrants, step.which)?.update(++round) ?? Effect.void
        case "release": {
          const [registrant] = registrants.splice(step.which % Math.max(1, registrants.length), 1)
          return registrant?.release ?? Effect.void
        }
        case "subscribe":
        case "follow":
          return Effect.map(
            pick(processes, step.process)?.[step.kind]() ?? Effect.succeed(Effect.void),
            (unsubscribe) => subscriptions.push(unsubscribe)
          )
        case "unsubscribe": {
          const [unsubscribe] = subscriptions.splice(step.which % Math.max(1, subscriptions.length), 1)
          return unsubscribe ?? Effect.void
        }
        case "delete":
          return moment(
            step.kind,
            Effect.flatMap(keys, (found) => {
              const key = pick(found, step.which)?.key
              return key === undefined ? Effect.void : world.operate(world.operator.remove(key))
            })
          )
        case "revoke":
          return moment(
            step.kind,
            Effect.flatMap(keys, (found) => {
              const lease = pick(found, step.which)?.lease
              return lease === undefined ? Effect.void : world.operator.revoke(lease)
            })
          )
        case "compact":
          return moment(step.kind, Effect.andThen(world.truth.catchUp, Effect.ignore(world.compact)))
        case "reset":
          return moment(step.kind, proxy.reset)
        case "wipe":
          return world.during(step.kind, { cuts: true }, world.replace(server.wipe), Effect.void, Effect.void)
        case "kill":
          return outage(step.kind, step.for, server.kill("SIGKILL"), server.start)
        case "stop":
          return outage(step.kind, step.for, server.pause, server.resume)
        case "refuse":
          return outage(step.kind, step.for, Effect.andThen(proxy.refuse, proxy.reset), proxy.accept)
        case "cut":
          return outage(step.kind, step.for, proxy.blackhole(), proxy.heal)
        case "cut up":
          // Whoever is told of changes may go on listening.
          return world.during(step.kind, {}, proxy.blackhole("up"), pause(step.for), proxy.heal)
        case "cut down":
          return outage(step.kind, step.for, proxy.blackhole("down"), proxy.heal)
        case "slow":
          return world.during(step.kind, {}, proxy.poison({ latency: 100, jitter: 50 }), pause(step.for), proxy.heal)
        case "slice":
          return world.during(step.kind, {}, proxy.poison({ slice: true }), pause(step.for), proxy.heal)
      }
    }

    yield* Effect.forEach(["clients", "faults"] as const, (lane) =>
      Effect.forEach(
        plan.filter((planned) => planned.lane === lane),
        ({ after, step }) =>
          Effect.andThen(
            pause(after),
            // What clients are asked waits for nobody; faults come one after the other.
            lane === "faults" ? act(step) : Effect.forkScoped(Effect.ignore(Effect.suspend(() => act(step))))
          ),
        { discard: true }
      ), { concurrency: 2 })
    // Whoever was asked during the last fault is answered after it.
    yield* world.settled
  })
})

/**
 * A shorter list that still fails: parts are left out, halves first (A. Zeller, R. Hildebrandt, "Simplifying and
 * Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering 28, 2002), for at most so many tries.
 */
export const shrink = Effect.fnUntraced(function* <A>(
  items: ReadonlyArray<A>,
  fails: (items: ReadonlyArray<A>) => Effect.Effect<boolean>,
  tries: number
): Effect.fn.Return<ReadonlyArray<A>> {
  let current = items
  let left = tries
  for (let size = Math.ceil(current.length / 2); size >= 1 && left > 0;) {
    let removed = false
    for (let from = 0; from < current.length && left > 0; from += size) {
      const shorter = [...current.slice(0, from), ...current.slice(from + size)]
      left--
      if (shorter.length === 0 || !(yield* fails(shorter))) continue
      current = shorter
      removed = true
      break
    }
    if (!removed) size = size === 1 ? 0 : Math.ceil(size / 2)
    else size = Math.min(size, Math.max(1, Math.ceil(current.length / 2)))
  }
  return current
})
