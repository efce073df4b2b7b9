/**
 * Faults of a cluster of three.
 *
 * @module
 */
import { Effect } from "effect"
import { pause } from "../../harness/real.ts"
import { type Fault, populate } from "../Fault.ts"
import type { World } from "../World.ts"

/** A TTL that is longer than an election on two busy cores. */
const ttl = 10
const promised = { keeps: true, slack: 8000 }

const times = (count: number) => Array.from({ length: count })

/** Every client has only the first member as endpoint. */
const pinned = Effect.fnUntraced(function* (world: World) {
  const only = world.members.slice(0, 1)
  const looking = yield* world.connect("looking", { only })
  yield* looking.subscribe()
  yield* looking.follow()
  const keeping = yield* world.connect("keeping", { only })
  yield* Effect.forEach([1, 2], () => keeping.register())
})

/** Moves the leadership to another member, and waits. */
export const moveLeader = Effect.fnUntraced(function* (world: World, which: number, milliseconds: number) {
  const leader = yield* world.cluster.leader
  const others = world.cluster.members.filter((member) => member !== leader)
  const next = others[which % others.length]
  if (next === undefined) return
  yield* world.avoid(...world.cluster.members.filter((member) => member !== next))
  const id = yield* world.operator.memberId
  yield* world.avoid(...others)
  yield* world.during("leader moved", {}, world.operator.moveLeader(id), pause(milliseconds), Effect.void)
})

export const clusterFaults: ReadonlyArray<Fault> = [
  {
    id: "F10",
    title: "F10 the leader is killed every 2 s",
    members: 3,
    ttl,
    promised,
    run: (world) =>
      Effect.forEach(times(5), () =>
        Effect.gen(function* () {
          const leader = yield* world.cluster.leader
          yield* world.avoid(leader)
          yield* world.during("leader killed", {}, leader.kill("SIGKILL"), pause(1000), leader.start)
          yield* pause(1000)
        })).pipe(Effect.andThen(world.avoid()))
  },
  {
    id: "F10",
    title: "F10 the leader is moved every 2 s",
    members: 3,
    always: true,
    ttl: 5,
    promised,
    run: (world) => Effect.forEach(times(4), () => moveLeader(world, 0, 2000)).pipe(Effect.andThen(world.avoid()))
  },
  {
    id: "F11",
    title: "F11 clients with one endpoint, whose member is partitioned from the others",
    members: 3,
    always: true,
    ttl: 3,
    promised: { slack: 8000 },
    stage: pinned,
    run: (world) =>
      Effect.gen(function* () {
        yield* world.avoid(world.server)
        yield* world.during(
          "cut off from the cluster",
          { cuts: true },
          world.cluster.cut(world.server),
          pause(12_000),
          world.cluster.mend
        )
        yield* world.avoid()
      })
  },
  {
    id: "F11",
    title: "F11 the member in use is partitioned from the others, and clients move on",
    members: 3,
    ttl,
    promised,
    run: (world) =>
      Effect.gen(function* () {
        yield* world.avoid(world.server)
        // Clients recover while the fault lasts.
        yield* world.during("cut off from the cluster", {}, world.cluster.cut(world.server), Effect.void, Effect.void)
        yield* world.converged(world.promised.within + world.promised.slack)
        yield* world.during("together again", {}, world.cluster.mend, Effect.void, Effect.void)
        yield* world.avoid()
      })
  },
  {
    id: "F12",
    title: "F12 every member is removed and another one added",
    members: 3,
    ttl: 20,
    // A member that shuts down answers its streams for up to 7 s, without new events.
    silence: 10_000,
    promised,
    stage: populate,
    run: (world) =>
      Effect.forEach(world.members.map(({ server }) => server), (old) =>
        Effect.gen(function* () {
          yield* world.avoid(old)
          const fresh = yield* world.cluster.add
          yield* world.during(
            "member replaced",
            {},
            world.cluster.remove(old),
            world.substitute(old, fresh),
            Effect.void
          )
          yield* pause(1000)
        })).pipe(Effect.andThen(world.avoid()))
  }
]
