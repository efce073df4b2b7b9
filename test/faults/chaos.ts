/**
 * Random campaigns: steps of clients and faults, drawn from a seed, run in their own world and judged by the oracle. A
 * campaign is plain data, so a failing one can be shortened by removing steps.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import type { Proxy } from "../harness/Proxy.ts"
import { eventually, pause } from "../harness/real.ts"
import { randomOf } from "../harness/seed.ts"
import type { Fault } from "./Fault.ts"
import type { Found } from "./Operator.ts"
import type { Process, RegisterHow, Registrant } from "./Process.ts"
import { moveLeader } from "./table/cluster.ts"
import { serverFaults } from "./table/server.ts"
import type { World } from "./World.ts"

/** Numbers choose among what exists at that time. */
export type Step =
  | { readonly kind: "register"; readonly process: number; readonly background: boolean }
  | { readonly kind: "claim"; readonly process: number; readonly claim: "exclusive" | "restart" }
  | { readonly kind: "update" | "release"; readonly which: number }
  | { readonly kind: "subscribe" | "follow"; readonly process: number }
  | { readonly kind: "unsubscribe"; readonly which: number }
  | {
    readonly kind: "delete" | "revoke" | "rewrite" | "restore" | "lose put" | "lose answer" | "move leader"
    readonly which: number
  }
  | { readonly kind: "unlease" | "move"; readonly which: number; readonly for: number }
  | { readonly kind: "compact" | "reset" | "wipe" | "fill" }
  | {
    readonly kind: "reset after" | "close after"
    readonly way: "up" | "down"
    readonly bytes: number
    readonly for: number
  }
  | {
    readonly kind:
      | "kill"
      | "stop"
      | "refuse"
      | "cut"
      | "cut up"
      | "cut down"
      | "slow"
      | "slice"
      | "narrow"
      | "kill leader"
    readonly for: number
  }

/** A step and the milliseconds to wait before it. The two lanes run in parallel. */
export interface Planned {
  readonly lane: "clients" | "faults"
  readonly after: number
  readonly step: Step
}

const ttl = 3
const clients = 3

/** Faults of the table. */
const restorations = serverFaults.filter(({ title }) => title.includes("an older snapshot"))
const noSpace = serverFaults.find(({ id }) => id === "F8")

type Table = ReadonlyArray<readonly [Step["kind"], number]>

/** How often each kind is drawn. */
const asked: Table = [
  ["register", 5],
  ["update", 6],
  ["release", 3],
  ["subscribe", 2],
  ["follow", 1],
  ["unsubscribe", 2]
]
/** Steps on any etcd. */
const anywhere: Table = [
  ["reset", 4],
  ["refuse", 2],
  ["cut", 2],
  ["cut up", 2],
  ["cut down", 2],
  ["slow", 2],
  ["slice", 1],
  ["narrow", 1],
  ["reset after", 1],
  ["close after", 2],
  ["lose put", 2],
  ["lose answer", 2],
  ["delete", 2],
  ["revoke", 2],
  ["rewrite", 2],
  ["compact", 3]
]
/** Steps on one server. */
const ofOne: Table = [
  ["kill", 3],
  ["stop", 3],
  ["wipe", 1],
  ["restore", 2],
  ["fill", 1]
]
/** Steps on a cluster. */
const ofThree: Table = [
  ["kill leader", 4],
  ["move leader", 4]
]

/** Steps that can end a registration. Only some campaigns have them, because the oracle must allow more there. */
const rivals: Table = [["claim", 3]]
const robbers: Table = [["unlease", 2], ["move", 2]]

/** The campaign of a seed, of about this many seconds. */
export const campaignOf = (seed: number, seconds: number): ReadonlyArray<Planned> => {
  const random = randomOf(seed)
  const upTo = (limit: number) => Math.floor(random() * limit)
  const draw = (table: Table): Step["kind"] => {
    let left = upTo(table.reduce((sum, [, weight]) => sum + weight, 0))
    return table.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "reset"
  }
  // From too short to be detected to longer than a TTL.
  const duration = () => Math.round(100 * 60 ** random())
  const stepOf = (kind: Step["kind"]): Step => {
    switch (kind) {
      case "register":
        return { kind, process: upTo(clients), background: random() < 0.3 }
      case "claim":
        return { kind, process: upTo(clients), claim: random() < 0.5 ? "exclusive" : "restart" }
      case "subscribe":
      case "follow":
        return { kind, process: upTo(clients) }
      case "update":
      case "release":
      case "unsubscribe":
      case "delete":
      case "revoke":
      case "rewrite":
      case "restore":
      case "lose put":
      case "lose answer":
      case "move leader":
        return { kind, which: upTo(1000) }
      case "unlease":
      case "move":
        return { kind, which: upTo(1000), for: duration() }
      case "compact":
      case "reset":
      case "wipe":
      case "fill":
        return { kind }
      case "reset after":
      case "close after":
        return { kind, way: random() < 0.5 ? "up" : "down", bytes: Math.round(4000 ** random()), for: duration() }
      default:
        return { kind, for: duration() }
    }
  }
  const lane = (name: Planned["lane"], table: Table, every: number) => {
    const planned: Array<Planned> = []
    for (let time = 0; time < seconds * 1000;) {
      const after = upTo(2 * every)
      const step = stepOf(draw(table))
      planned.push({ lane: name, after, step })
      // etcd has no space for 4 s.
      time += after + ("for" in step ? step.for : step.kind === "fill" ? 4000 : 0)
    }
    return planned
  }
  const befalling = [...anywhere, ...(random() < 0.2 ? ofThree : ofOne), ...(random() < 0.3 ? robbers : [])]
  const asking = [...asked, ...(random() < 0.3 ? rivals : [])]
  return [...lane("clients", asking, 400), ...lane("faults", befalling, 1500)]
}

const pick = <A>(all: ReadonlyArray<A>, which: number): A | undefined => all[which % Math.max(1, all.length)]

/** The world of the steps, and what is promised in it. */
const settingOf = (plan: ReadonlyArray<Planned>): Pick<Fault, "args" | "members" | "promised"> => {
  const has = (table: Table) => plan.some(({ step }) => table.some(([kind]) => kind === step.kind))
  const full = has([["fill", 1]]) ? noSpace : undefined
  return {
    ...(has(ofThree) ? { members: 3 } : {}),
    ...(full?.args === undefined ? {} : { args: full.args }),
    promised: {
      ...full?.promised,
      // Elections on two busy cores.
      ...(has(ofThree) ? { slack: 8000 } : {}),
      rivals: has(rivals),
      robbed: has(robbers)
    }
  }
}

/** A campaign as a fault. */
export const campaign = (title: string, plan: ReadonlyArray<Planned>): Fault => ({
  id: "chaos",
  title,
  ttl,
  ...settingOf(plan),
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
    const { cluster, operator, server } = world

    const outage = (
      kind: string,
      milliseconds: number,
      begin: Effect.Effect<unknown, unknown>,
      heal: Effect.Effect<unknown, unknown>
    ) => world.during(kind, { cuts: true }, begin, pause(milliseconds), heal)
    const hindrance = (
      kind: string,
      milliseconds: number,
      begin: Effect.Effect<unknown, unknown>,
      heal: Effect.Effect<unknown, unknown>
    ) => world.during(kind, {}, begin, pause(milliseconds), heal)
    const moment = (kind: string, effect: Effect.Effect<unknown, unknown>) =>
      world.during(kind, {}, effect, Effect.void, Effect.void)
    /** The proxies of all members. */
    const ways = (change: (proxy: Proxy) => Effect.Effect<unknown, Error>) =>
      Effect.forEach(world.members, ({ proxy }) => change(proxy))
    const heal = ways((proxy) => proxy.heal)
    const reset = ways((proxy) => proxy.reset)
    const onKey = <E, R>(which: number, effect: (key: Found) => Effect.Effect<unknown, E, R>) =>
      Effect.gen(function* () {
        const { found } = yield* eventually(operator.read(`${world.promised.namespace}/${world.service}/client`))
        const key = pick(found.filter(({ lease }) => lease !== 0n), which)
        if (key !== undefined) yield* effect(key)
      })

    const join = (process: number, how: RegisterHow) =>
      Effect.map(
        pick(processes, process)?.register(how) ?? Effect.void,
        (registrant) => registrant === undefined ? undefined : registrants.push(registrant)
      )

    /** Loses the next request of a client, or its answer. */
    const lose = (kind: string, which: number, mode: "lost" | "unanswered") =>
      Effect.gen(function* () {
        const registrant = pick(registrants, which)
        const isNew = registrant === undefined || which % 2 === 0
        const key = isNew ? `/${world.service}/${pick(processes, which)?.name}` : registrant.key
        const traps = yield* Effect.forEach(
          world.members,
          ({ proxy }) => proxy.trap(new TextEncoder().encode(key), mode)
        )
        const asking = act(isNew ? { kind: "register", process: which, background: false } : { kind: "update", which })
        yield* world.during(
          kind,
          {},
          Effect.void,
          Effect.forkScoped(Effect.ignore(asking)).pipe(
            // A client under another fault may send its request later.
            Effect.andThen(Effect.raceAllFirst([pause(2000), ...traps.map(({ sprung }) => sprung)])),
            Effect.andThen(pause(300))
          ),
          Effect.andThen(reset, heal)
        )
      })

    const act = (step: Step): Effect.Effect<unknown, unknown, Scope.Scope> => {
      switch (step.kind) {
        case "register":
          return join(step.process, { startup: step.background ? "background" : "await" })
        case "claim":
          return join(step.process, { id: "client-one", claim: step.claim })
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
          return moment(step.kind, onKey(step.which, ({ key }) => world.operate(operator.remove(key))))
        case "revoke":
          // Its owner may have released it by now, here and below.
          return moment(step.kind, onKey(step.which, ({ lease }) => Effect.ignore(operator.revoke(lease))))
        case "rewrite":
          return moment(
            step.kind,
            onKey(step.which, ({ key, lease }) => Effect.ignore(world.operate(operator.put(key, "{}", lease))))
          )
        case "unlease":
          return onKey(step.which, ({ key, value }) =>
            hindrance(
              step.kind,
              step.for,
              world.operate(operator.put(key, value)),
              world.operate(operator.remove(key))
            ))
        case "move":
          return onKey(step.which, ({ key, value }) =>
            Effect.flatMap(operator.grant(600), (lease) =>
              hindrance(
                step.kind,
                step.for,
                world.operate(operator.put(key, value, lease)),
                operator.revoke(lease)
              )))
        case "compact":
          return moment(step.kind, Effect.andThen(world.truth.catchUp, Effect.ignore(world.compact)))
        case "reset":
          return moment(step.kind, reset)
        case "wipe":
          return world.during(step.kind, { cuts: true }, world.replace(server.wipe), Effect.void, Effect.void)
        case "restore":
          return pick(restorations, step.which)?.run(world) ?? Effect.void
        case "fill":
          return noSpace?.run(world) ?? Effect.void
        case "kill":
          return outage(step.kind, step.for, server.kill("SIGKILL"), server.start)
        case "stop":
          return outage(step.kind, step.for, server.pause, server.resume)
        case "kill leader":
          return Effect.gen(function* () {
            const leader = yield* cluster.leader
            yield* world.avoid(leader)
            yield* hindrance(step.kind, step.for, leader.kill("SIGKILL"), leader.start)
            yield* world.avoid()
          })
        case "move leader":
          return Effect.andThen(moveLeader(world, step.which, 1000), world.avoid())
        case "refuse":
          return outage(
            step.kind,
            step.for,
            ways((proxy) => Effect.andThen(proxy.refuse, proxy.reset)),
            ways((proxy) => proxy.accept)
          )
        case "cut":
          return outage(step.kind, step.for, ways((proxy) => proxy.blackhole()), heal)
        case "cut up":
          // Subscribers of changes stay.
          return hindrance(step.kind, step.for, ways((proxy) => proxy.blackhole("up")), heal)
        case "cut down":
          return outage(step.kind, step.for, ways((proxy) => proxy.blackhole("down")), heal)
        case "slow":
          return hindrance(step.kind, step.for, ways((proxy) => proxy.poison({ latency: 100, jitter: 50 })), heal)
        case "slice":
          return hindrance(step.kind, step.for, ways((proxy) => proxy.poison({ slice: true })), heal)
        case "narrow":
          return hindrance(step.kind, step.for, ways((proxy) => proxy.poison({ bandwidth: 8000 })), heal)
        case "reset after":
          return hindrance(step.kind, step.for, ways((proxy) => proxy.resetAfterBytes(step.bytes, step.way)), heal)
        case "close after":
          return hindrance(step.kind, step.for, ways((proxy) => proxy.closeAfterBytes(step.bytes, step.way)), heal)
        case "lose put":
          return lose(step.kind, step.which, "lost")
        case "lose answer":
          return lose(step.kind, step.which, "unanswered")
      }
    }

    yield* Effect.forEach(["clients", "faults"] as const, (lane) =>
      Effect.forEach(
        plan.filter((planned) => planned.lane === lane),
        ({ after, step }) =>
          Effect.andThen(
            pause(after),
            // Calls of clients do not wait for each other; faults run one after the other.
            lane === "faults" ? act(step) : Effect.forkScoped(Effect.ignore(Effect.suspend(() => act(step))))
          ),
        { discard: true }
      ), { concurrency: 2 })
    // Calls during the last fault complete after it.
    yield* world.settled
  })
})

/**
 * Finds a shorter list that still fails by removing parts, halves first (A. Zeller, R. Hildebrandt, "Simplifying and
 * Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering 28, 2002), in a limited number of
 * attempts.
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
