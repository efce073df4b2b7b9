/**
 * Faults of one server: killed, stopped, slow, wiped, restored or full.
 *
 * @module
 */
import { Effect } from "effect"
import { dirname, join } from "node:path"
import { eventually, pause } from "../../harness/real.ts"
import { type Fault, populate } from "../Fault.ts"
import type { World } from "../World.ts"

const kill = (world: World) => world.server.kill("SIGKILL")
const restart = (world: World) => world.server.start

/** Stops the server for this many milliseconds. */
const outage = (world: World, milliseconds: number) =>
  world.during("killed", { cuts: true }, kill(world), pause(milliseconds), restart(world))

/** One process registers this many instances. */
const crowd = (size: number) =>
  Effect.fnUntraced(function* (world: World) {
    const looking = yield* world.connect("looking")
    yield* looking.subscribe()
    // The default of a program: two busy cores do not answer a thousand requests within a second.
    const keeping = yield* world.connect("keeping", { requestTimeout: 3000 })
    yield* Effect.forEach(Array.from({ length: size }), () => keeping.register(), { concurrency: 100 })
  })

/** Calls during the outage complete after it. */
const busy = Effect.fnUntraced(function* (world: World) {
  const [, keeping] = world.processes
  if (keeping === undefined) return
  yield* Effect.forkScoped(Effect.ignore(keeping.register()))
})

const fill = (world: World) =>
  Effect.gen(function* () {
    const filler = "x".repeat(200_000)
    // Until etcd refuses.
    yield* Effect.forever(world.operate(world.operator.put("filler", filler)))
  }).pipe(Effect.catch((error) => error.message.includes("space exceeded") ? Effect.void : Effect.fail(error)))

const makeRoom = (world: World) =>
  Effect.gen(function* () {
    yield* world.truth.catchUp
    yield* world.compact
    yield* world.operator.defragment
    yield* world.operator.disarm
    yield* world.operate(world.operator.remove("filler"))
  })

/** Stops the server for half a second, two seconds after each start, for this many milliseconds. */
const restarts = (milliseconds: number) => (world: World) =>
  Effect.gen(function* () {
    const end = performance.now() + milliseconds
    while (performance.now() < end) yield* Effect.andThen(outage(world, 500), pause(1500))
  })

/** How many revisions pass between a snapshot and its restore, and until clients may connect again. */
const restoration = (before: number, after: number) =>
  Effect.fnUntraced(function* (world: World) {
    const file = join(dirname(world.server.dataDir), "snapshot")
    const pass = (revisions: number) =>
      Effect.forEach(
        Array.from({ length: revisions }),
        () => world.operator.put("unrelated", ""),
        { discard: true, concurrency: 20 }
      )
    yield* world.server.snapshot(file)
    const [, keeping] = world.processes
    if (keeping === undefined) return
    // The snapshot does not contain this one.
    const one = yield* keeping.register()
    yield* one.update(1)
    yield* pass(before)
    yield* world.during(
      "restored",
      { cuts: true },
      world.replace(Effect.andThen(world.server.wipe, world.server.restore(file)), pass(after)),
      Effect.void,
      Effect.void
    )
  })

export const serverFaults: ReadonlyArray<Fault> = [
  {
    id: "F1",
    title: "F1 etcd is killed and started again before the TTL",
    always: true,
    ttl: 10,
    promised: { keeps: true },
    run: (world) => Effect.andThen(busy(world), outage(world, 1000))
  },
  {
    id: "F1",
    title: "F1 etcd is killed and started again after the TTL",
    run: (world) => Effect.andThen(busy(world), outage(world, 8000))
  },
  ...[1, 10, 60].map((seconds): Fault => ({
    id: "F2",
    title: `F2 etcd is down at start for ${seconds} s`,
    always: seconds === 1,
    minutes: seconds / 60,
    stage: () => Effect.void,
    run: (world) =>
      Effect.gen(function* () {
        yield* world.during(
          "not there yet",
          { cuts: true },
          kill(world),
          Effect.gen(function* () {
            // The outage is longer than the default `startupTimeout`, so this one is longer as well.
            const looking = yield* world.connect("looking")
            yield* looking.subscribe()
            yield* looking.follow()
            const keeping = yield* world.connect("keeping")
            yield* Effect.forEach([1, 2], () => keeping.register({ startup: "background" }))
            yield* Effect.forkScoped(
              Effect.ignore(keeping.register({ startup: seconds < 60 ? "await" : "background" }))
            )
            yield* pause(seconds * 1000)
          }),
          restart(world)
        )
      })
  })),
  {
    id: "F3",
    title: "F3 etcd is down at release",
    always: true,
    run: (world) =>
      world.during(
        "killed",
        { cuts: true },
        kill(world),
        Effect.gen(function* () {
          const [, keeping] = world.processes
          yield* keeping?.close ?? Effect.void
        }),
        restart(world)
      )
  },
  {
    id: "F3",
    title: "F3 etcd hangs at release, after a drain",
    stage: Effect.fnUntraced(function* (world) {
      yield* populate(world)
      const draining = yield* world.connect("draining")
      yield* Effect.forEach([1, 2], () => draining.register({ drain: 500 }))
    }),
    promised: { release: 2000 + 1000 + 1000 + 500 + 2000 },
    run: (world) =>
      world.during(
        "stopped",
        { cuts: true },
        world.server.pause,
        Effect.suspend(() => Effect.forEach(world.processes.slice(1), ({ close }) => close, { concurrency: 3 })),
        world.server.resume
      )
  },
  {
    id: "F4",
    title: "F4 etcd is started again every 2 s for 60 s",
    minutes: 1,
    ttl: 3,
    run: restarts(60_000)
  },
  {
    id: "F4",
    title: "F4 etcd is started again every 2 s for 10 s",
    ttl: 3,
    run: restarts(10_000)
  },
  ...([["half the", 0.5], ["one", 1], ["two times the", 2]] as const).map(([name, factor]): Fault => ({
    id: "F5",
    title: `F5 etcd is stopped (SIGSTOP) for ${name} TTL`,
    always: factor === 2,
    ttl: 4,
    run: (world) =>
      world.during(
        "stopped",
        { cuts: true },
        world.server.pause,
        pause(factor * 4000),
        world.server.resume
      )
  })),
  {
    id: "F7",
    title: "F7 the data are wiped",
    always: true,
    run: (world) =>
      world.during(
        "wiped",
        { cuts: true },
        world.replace(world.server.wipe),
        Effect.void,
        Effect.void
      )
  },
  {
    id: "F7",
    title: "F7 the data are wiped, with 1,000 instances",
    alone: true,
    ttl: 15,
    stage: crowd(1000),
    // 1,000 grants, claims and reads on two cores.
    promised: { slack: 30_000 },
    run: (world) =>
      Effect.andThen(
        world.during("wiped", { cuts: true }, world.replace(world.server.wipe), Effect.void, Effect.void),
        Effect.asVoid(world.converged(40_000))
      )
  },
  {
    id: "F7",
    title: "F7 an older snapshot is restored (the revision goes back)",
    run: restoration(100, 0)
  },
  {
    id: "F7",
    title: "F7 an older snapshot is restored and has passed the revision that clients saw",
    run: restoration(0, 100)
  },
  {
    id: "F8",
    title: "F8 etcd has no space left",
    args: ["--quota-backend-bytes=4000000"],
    // Writes wait for the end of the alarm. Existing keys stay.
    promised: { within: 12_000 },
    run: (world) =>
      Effect.gen(function* () {
        const [, keeping] = world.processes
        if (keeping === undefined) return
        const registered = yield* keeping.register()
        yield* world.during(
          "NOSPACE",
          {},
          fill(world),
          Effect.gen(function* () {
            yield* Effect.forkScoped(registered.update(2))
            yield* Effect.forkScoped(Effect.ignore(keeping.register()))
            const lease = yield* registered.lease
            if (lease !== undefined) yield* Effect.ignore(world.operator.revoke(lease))
            yield* pause(4000)
          }),
          makeRoom(world)
        )
      })
  },
  {
    id: "F9",
    title: "F9 compaction during a partition",
    always: true,
    ttl: 6,
    run: (world) =>
      world.during(
        "cut off and compacted",
        { cuts: true },
        Effect.andThen(world.proxy.refuse, world.proxy.reset),
        Effect.gen(function* () {
          yield* pause(1500)
          yield* world.compact
          yield* pause(500)
        }),
        world.proxy.accept
      )
  },
  {
    id: "F9",
    title: "F9 compaction at a delete revision, during a partition and during a watch",
    ttl: 6,
    run: (world) =>
      Effect.gen(function* () {
        const lease = yield* world.operator.grant(600)
        const key = `${world.promised.namespace}/${world.service}/passing`
        const pass = Effect.gen(function* () {
          yield* world.operate(world.operator.put(key, world.value("passing", "passing", 1), lease))
          yield* pause(100)
          const revision = yield* world.operator.remove(key)
          yield* eventually(
            Effect.suspend(() => world.truth.revision >= revision ? Effect.void : Effect.fail("not seen"))
          )
          yield* world.operator.compact(revision)
        })
        yield* pass
        yield* world.during(
          "cut off and compacted",
          { cuts: true },
          Effect.andThen(world.proxy.refuse, world.proxy.reset),
          // `pass` leaves nothing behind that a blind client could miss.
          Effect.andThen(pass, world.moved),
          world.proxy.accept
        )
        yield* pass
        yield* world.operator.revoke(lease)
      })
  },
  {
    id: "F9",
    title: "F9 compaction every 100 ms under load",
    ttl: 3,
    run: (world) =>
      Effect.gen(function* () {
        const [, keeping] = world.processes
        if (keeping === undefined) return
        const registered = yield* keeping.register()
        const compacting = Effect.forever(Effect.andThen(Effect.ignore(world.compact), pause(100)))
        const load = Effect.gen(function* () {
          for (let round = 1; round <= 20; round++) {
            yield* registered.update(round)
            const other = yield* keeping.register()
            if (round % 4 === 0) yield* world.proxy.reset
            yield* other.release
          }
        })
        yield* world.during("compacted", {}, Effect.void, Effect.raceFirst(compacting, load), Effect.void)
      })
  }
]
