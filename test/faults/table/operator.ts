/**
 * Actions of an operator on keys and leases, and claimants of one id.
 *
 * @module
 */
import { Effect } from "effect"
import { pause } from "../../harness/real.ts"
import type { Fault } from "../Fault.ts"
import type { World } from "../World.ts"

/** The keys and leases of the registrants. */
const kept = (world: World) =>
  Effect.map(
    world.operator.read(`${world.promised.namespace}/${world.service}/keeping`),
    ({ found }) => found
  )

const nothing = Effect.void

export const operatorFaults: ReadonlyArray<Fault> = [
  {
    id: "F16",
    title: "F16 keys are deleted",
    always: true,
    run: (world) =>
      Effect.gen(function* () {
        for (const { key } of yield* kept(world)) {
          yield* world.during("deleted", {}, world.operate(world.operator.remove(key)), pause(200), nothing)
        }
      })
  },
  {
    id: "F16",
    title: "F16 keys are rewritten without a lease, with other content, and moved to another lease",
    always: true,
    promised: { robbed: true, takeover: true },
    run: (world) =>
      Effect.gen(function* () {
        const [plain, other, moved] = yield* kept(world)
        if (plain === undefined || other === undefined || moved === undefined) return
        const lease = yield* world.operator.grant(600)
        yield* world.during(
          "rewritten",
          {},
          Effect.all([
            world.operate(world.operator.put(plain.key, plain.value)),
            // Under its own lease: the registration puts its value back.
            world.operate(world.operator.put(other.key, "{}", other.lease)),
            world.operate(world.operator.put(moved.key, moved.value, lease))
          ]),
          pause(1000),
          nothing
        )
        yield* world.converged(world.promised.within)
        yield* world.operate(world.operator.remove(plain.key))
        yield* world.operator.revoke(lease)
      })
  },
  {
    id: "F17",
    title: "F17 leases are revoked",
    always: true,
    run: (world) =>
      Effect.gen(function* () {
        for (const { lease } of yield* kept(world)) {
          yield* world.during("revoked", {}, world.operator.revoke(lease), pause(200), nothing)
        }
      })
  },
  {
    id: "F17",
    title: "F17 leases are revoked during a partition",
    ttl: 4,
    run: (world) =>
      world.during(
        "cut off, and revoked",
        { cuts: true },
        Effect.andThen(world.proxy.refuse, world.proxy.reset),
        Effect.gen(function* () {
          for (const { lease } of yield* kept(world)) yield* world.operator.revoke(lease)
          yield* pause(1000)
        }),
        world.proxy.accept
      )
  },
  ...(["exclusive", "restart"] as const).map((claim): Fault => ({
    id: "F21",
    title: `F21 claimants of one id, ${claim}, over a bad network`,
    always: claim === "restart",
    promised: { rivals: true },
    run: (world) =>
      Effect.gen(function* () {
        const rivals = yield* Effect.forEach(["red", "green", "blue", "gray"], (name) => world.connect(name))
        const resets = Effect.forever(Effect.andThen(pause(70), world.proxy.reset))
        const races = Effect.forEach([1, 2, 3], () =>
          Effect.forEach(
            rivals,
            (rival) =>
              Effect.result(rival.register({ id: "one", claim })).pipe(
                Effect.flatMap((result) =>
                  result._tag === "Failure" ? Effect.void : Effect.andThen(pause(300), result.success.release)
                )
              ),
            { concurrency: "unbounded" }
          ))
        yield* world.during("resets", {}, nothing, Effect.raceFirst(races, resets), nothing)
        // The last holder stays.
        yield* Effect.ignore(rivals[0]?.register({ id: "one", claim: "exclusive" }) ?? nothing)
      })
  })),
  {
    id: "F21",
    title: "F21 a process comes back under its id while its old run still holds it",
    promised: { takeover: true, robbed: true },
    run: (world) =>
      Effect.gen(function* () {
        const how = { id: "one", endpoint: "http://one:1" }
        const [old, young, third] = yield* Effect.forEach(["old", "young", "third"], (name) => world.connect(name))
        yield* old?.register(how) ?? nothing
        yield* world.during("taken over", {}, young?.register(how) ?? nothing, pause(500), nothing)
        yield* third?.register({ ...how, endpoint: "http://other:1", claim: "overwrite" }) ?? nothing
      })
  }
]
