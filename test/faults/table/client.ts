/**
 * Faults of the client's process: SIGSTOP, a blocked event loop, a clock that jumps.
 *
 * @module
 */
import { Effect } from "effect"
import { pause } from "../../harness/real.ts"
import { type Fault, populate } from "../Fault.ts"
import type { Spawned, World } from "../World.ts"

const ttl = 3

/** A fault of a client in its own process, beside the others. */
const ofClient = (
  options: Pick<Fault, "title" | "always" | "promised" | "ttl">,
  fault: (world: World, client: Spawned) => Effect.Effect<void, unknown>
): Fault => ({
  id: "F6",
  ttl,
  ...options,
  run: (world) =>
    Effect.gen(function* () {
      yield* populate(world)
      const client = yield* world.spawn("child", 2)
      yield* world.converged(20_000)
      yield* fault(world, client)
    }),
  stage: () => Effect.void
})

export const clientFaults: ReadonlyArray<Fault> = [
  ...([["half the", 0.5], ["one", 1], ["two times the", 2]] as const).map(([name, factor]) =>
    ofClient(
      { title: `F6 the client is stopped (SIGSTOP) for ${name} TTL`, always: factor === 2 },
      (world, { program }) =>
        world.during(
          "client stopped",
          { freezes: true },
          program.signal("SIGSTOP"),
          pause(factor * ttl * 1000),
          program.signal("SIGCONT")
        )
    )
  ),
  ofClient(
    { title: "F6 the event loop of the client is blocked for two times the TTL" },
    (world, { program }) =>
      world.during(
        "client blocked",
        { freezes: true },
        program.send(`block ${2 * ttl * 1000}`),
        program.awaitLine("block done"),
        Effect.void
      )
  ),
  ofClient(
    { title: "F6 the clock of the client jumps an hour ahead and two hours back", ttl: 10, promised: { keeps: true } },
    (world, { program }) =>
      Effect.forEach(
        [3_600_000, -7_200_000],
        (jump) => world.during("clock jumped", {}, program.send(`jump ${jump}`), pause(5000), Effect.void)
      ).pipe(
        Effect.asVoid
      )
  )
]
