/**
 * Faults of the network between a client and etcd.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import * as FaultyEtcd from "../../../src/testing/FaultyEtcd.ts"
import { pause } from "../../harness/real.ts"
import { type Fault, populate } from "../Fault.ts"
import type { Toxics } from "../../harness/Proxy.ts"
import type { World } from "../World.ts"

/** Sends unary calls all the time. Heartbeats and watches send by themselves. */
const calling = Effect.fnUntraced(function* (world: World) {
  const [, keeping] = world.processes
  if (keeping === undefined) return
  const registrant = yield* keeping.register()
  let round = 0
  yield* world.load(Effect.andThen(Effect.suspend(() => registrant.update(++round)), pause(100)))
})

/** One process only subscribes, one only keeps registrations, one only calls, one does all three. */
const stage = (world: World) => Effect.andThen(populate(world), calling(world))

const ways = ["up", "down", "both"] as const
const named = { up: "from the client", down: "from etcd", both: "in both directions" } as const

const toxics: Readonly<Record<string, Toxics>> = {
  "latency with jitter": { latency: 150, jitter: 100 },
  "little bandwidth": { bandwidth: 8000 },
  "one-byte slices": { slice: true }
}

const hindered = Object.entries(toxics).flatMap(([name, toxic]) =>
  ways.map((way): Fault => ({
    id: "F14",
    title: `F14 ${name} ${named[way]}`,
    ttl: 10,
    promised: { keeps: true },
    stage,
    run: (world) => world.during(name, {}, world.proxy.poison(toxic, way), pause(5000), world.proxy.heal)
  }))
)

const dark = ways.flatMap((way) =>
  ([[1, true], [8, false]] as const).map(([length, keeps]): Fault => ({
    id: "F14",
    title: `F14 a black hole ${named[way]} for ${keeps ? "a moment" : "two times the TTL"}`,
    always: way === "both" && !keeps,
    ttl: keeps ? 10 : 4,
    promised: { keeps },
    stage,
    run: (world) =>
      world.during(
        "black hole",
        { cuts: way !== "up" },
        world.proxy.blackhole(way),
        pause(length * 1000),
        world.proxy.heal
      )
  }))
)

/** The bytes that identify a request about a lease: field 1, a varint. */
const leaseBytes = (lease: bigint): Uint8Array => {
  const bytes = [8]
  for (let rest = lease;; rest >>= 7n) {
    if (rest < 128n) return Uint8Array.from([...bytes, Number(rest)])
    bytes.push(Number(rest & 127n) | 128)
  }
}

/** Loses the answer of a request. The way back opens again when the connection is closed. */
const recover = (world: World) => Effect.andThen(world.proxy.reset, world.proxy.heal)

const text = new TextEncoder()

/**
 * A proxy knows connections only, and a connection carries everything: here each client's own etcd holds watches back.
 */
const hanging = Effect.fnUntraced(function* (world: World) {
  const etcds: Array<FaultyEtcd.Faults> = []
  const around = (real: Etcd) =>
    Effect.map(FaultyEtcd.make(real), ({ etcd, faults }) => {
      etcds.push(faults)
      return etcd
    })
  yield* populate(world, { around })
  yield* calling(world)
  yield* world.converged(20_000)
  yield* world.during(
    "watches hang",
    {},
    Effect.forEach(
      etcds,
      ({ set, silenceWatches }) => Effect.andThen(set([{ method: "watch", fault: FaultyEtcd.hung }]), silenceWatches)
    ),
    pause(8000),
    Effect.forEach(etcds, ({ clear }) => clear)
  )
})

export const networkFaults: ReadonlyArray<Fault> = [
  ...hindered,
  ...dark,
  {
    id: "F14",
    title: "F14 connections are reset every 300 ms",
    always: true,
    ttl: 10,
    promised: { keeps: true },
    stage,
    run: (world) =>
      world.during(
        "resets",
        {},
        Effect.void,
        Effect.forEach(Array.from({ length: 15 }), () => Effect.andThen(world.proxy.reset, pause(300))),
        Effect.void
      )
  },
  ...(["up", "down"] as const).flatMap((way) =>
    (["resetAfterBytes", "closeAfterBytes"] as const).map((how): Fault => ({
      id: "F14",
      title: `F14 connections are ${how === "resetAfterBytes" ? "reset" : "closed"} after some bytes ${named[way]}`,
      ttl: 10,
      promised: { keeps: true },
      stage,
      run: (world) =>
        world.during(
          how,
          {},
          Effect.void,
          Effect.forEach(
            [1, 10, 100, 333, 1000, 3333],
            (bytes) => Effect.andThen(world.proxy[how](bytes, way), pause(700))
          ),
          world.proxy.heal
        )
    }))
  ),
  {
    id: "F14",
    title: "F14 connections close slowly",
    ttl: 10,
    promised: { keeps: true },
    stage,
    run: (world) =>
      world.during(
        "slow close",
        {},
        Effect.andThen(world.proxy.poison({ slowClose: 1500 }), world.server.kill("SIGKILL")),
        world.server.start,
        Effect.andThen(pause(2500), world.proxy.heal)
      )
  },
  {
    id: "F14",
    title: "F14 watches hang while all else is answered",
    ttl: 10,
    promised: { keeps: true },
    stage: () => Effect.void,
    run: hanging
  },
  {
    id: "F15",
    title: "F15 of three endpoints one refuses and one does not answer",
    always: true,
    members: 3,
    ttl: 10,
    promised: { keeps: true, slack: 8000 },
    run: (world) =>
      Effect.gen(function* () {
        const [first, second] = world.members
        if (first === undefined || second === undefined) return
        // Clients recover while the fault lasts.
        yield* world.during(
          "one refuses, one does not answer",
          {},
          Effect.all([first.proxy.refuse, first.proxy.reset, second.proxy.blackhole()]),
          Effect.void,
          Effect.void
        )
        const late = yield* world.connect("late")
        yield* late.subscribe()
        yield* late.register()
        yield* world.converged(world.promised.within + world.promised.slack)
        yield* world.during("another refuses", {}, second.proxy.heal, Effect.void, second.proxy.refuse)
      })
  },
  {
    id: "F19",
    title: "F19 a grant is answered and the put is lost",
    always: true,
    ttl: 4,
    run: (world) =>
      Effect.gen(function* () {
        const late = yield* world.connect("late")
        const trap = yield* world.proxy.trap(text.encode(`/${world.service}/late-1`), "lost")
        yield* world.during("put lost", {}, Effect.void, late.register(), trap.sprung)
      })
  },
  {
    id: "F19",
    title: "F19 a put is applied and the answer is lost",
    always: true,
    ttl: 10,
    promised: { keeps: true },
    run: (world) =>
      Effect.gen(function* () {
        const late = yield* world.connect("late")
        const key = text.encode(`/${world.service}/late-1`)
        const trap = yield* world.proxy.trap(key, "unanswered")
        const rescue = trap.sprung.pipe(Effect.andThen(pause(300)), Effect.andThen(recover(world)))
        yield* Effect.forkScoped(rescue)
        const registrant = yield* late.register()
        // An update as well.
        const again = yield* world.proxy.trap(key, "unanswered")
        yield* Effect.forkScoped(registrant.update(1))
        yield* world.during("answer lost", {}, again.sprung, pause(300), recover(world))
      })
  },
  {
    id: "F19",
    title: "F19 a revocation is applied and the answer is lost",
    always: true,
    ttl: 10,
    promised: { keeps: true },
    run: (world) =>
      Effect.gen(function* () {
        const late = yield* world.connect("late")
        const registrant = yield* late.register()
        const lease = yield* registrant.lease
        if (lease === undefined) return yield* Effect.fail(new Error("no lease"))
        const trap = yield* world.proxy.trap(leaseBytes(lease), "unanswered")
        yield* Effect.forkScoped(registrant.release)
        yield* world.during("answer lost", {}, trap.sprung, pause(300), recover(world))
      })
  }
]
