/**
 * Faults of authentication.
 *
 * @module
 */
import { Effect, Redacted } from "effect"
import { pause } from "../../harness/real.ts"
import type { Fault } from "../Fault.ts"
import { appPassword } from "../Operator.ts"
import type { World } from "../World.ts"

const user = { username: "app", password: Effect.succeed(Redacted.make(appPassword)) }

const enter = Effect.fnUntraced(function* (world: World) {
  const looking = yield* world.connect("looking", user)
  yield* looking.subscribe()
  yield* looking.follow()
  const keeping = yield* world.connect("keeping", user)
  yield* Effect.forEach([1, 2, 3], () => keeping.register(), { concurrency: "unbounded" })
})

const protect = (world: World) => world.operator.protect(`${world.promised.namespace}/`)

const stage = (world: World) => Effect.andThen(protect(world), enter(world))

/** Opens all connections again, so that every client authenticates again. */
const strangers = (world: World) => Effect.andThen(world.proxy.reset, pause(3000))

/** How many of the clients' tokens etcd has rejected. The operator's first login does not follow a rejection. */
const tokens = Effect.fnUntraced(function* (world: World) {
  const logins = yield* world.operator.logins
  const handled = (labels: string) => world.server.metric("grpc_server_handled_total", labels)
  return {
    fetched: (yield* handled('grpc_method="Authenticate"')) - logins,
    rejected: (yield* handled('grpc_code="Unauthenticated"')) - (logins - 1)
  }
})

export const authFaults: ReadonlyArray<Fault> = [
  {
    id: "F20",
    title: "F20 tokens expire during a watch and during heartbeats",
    args: ["--auth-token-ttl=1"],
    ttl: 10,
    promised: { keeps: true },
    stage,
    run: (world) =>
      Effect.gen(function* () {
        yield* world.during("tokens expire", {}, Effect.void, pause(4000), Effect.void)
        yield* world.during("and everybody has to connect again", {}, world.proxy.reset, pause(500), Effect.void)
        const [, keeping] = world.processes
        yield* keeping?.register() ?? Effect.void
        // Otherwise no token has expired, and the test proves nothing.
        const { fetched, rejected } = yield* tokens(world)
        if (rejected === 0 || fetched <= world.processes.length) {
          return yield* Effect.fail(new Error(`${rejected} tokens were rejected, ${fetched} fetched`))
        }
      })
  },
  {
    id: "F20",
    title: "F20 the password is changed, and changed back",
    always: true,
    stage,
    run: (world) =>
      world.during(
        "another password",
        { refuses: true },
        world.operator.setPassword(`${appPassword} no more`),
        strangers(world),
        world.operator.setPassword(appPassword)
      )
  },
  {
    id: "F20",
    title: "F20 the role is revoked, and granted again",
    stage,
    run: (world) =>
      world.during(
        "no role",
        { refuses: true },
        world.operator.permit(false),
        strangers(world),
        world.operator.permit(true)
      )
  },
  {
    id: "F20",
    title: "F20 authentication is switched on, and off again",
    ttl: 10,
    promised: { keeps: true },
    stage: enter,
    run: (world) =>
      Effect.gen(function* () {
        const [, keeping] = world.processes
        yield* world.during("on", {}, protect(world), pause(2000), Effect.void)
        yield* keeping?.register() ?? Effect.void
        yield* world.during("and connect again", {}, world.proxy.reset, pause(2000), Effect.void)
        yield* world.during("off", {}, world.operator.unprotect, pause(2000), Effect.void)
        yield* keeping?.register() ?? Effect.void
      })
  }
]
