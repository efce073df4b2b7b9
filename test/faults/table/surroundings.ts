/**
 * Faults of what stands around etcd: fronts, load balancers, neighbours that write bad values, and rotation.
 *
 * @module
 */
import { Effect, Redacted } from "effect"
import type { FrontKind } from "../../harness/Front.ts"
import { pause } from "../../harness/real.ts"
import { type Fault, populate } from "../Fault.ts"
import { appPassword } from "../Operator.ts"
import type { World } from "../World.ts"

/** Another service in the same clients: a front that mixes up watches shows it here. */
const withNeighbour = Effect.fnUntraced(function* (world: World) {
  yield* populate(world)
  const [looking, keeping] = world.processes
  yield* looking?.subscribe("payments") ?? Effect.void
  yield* looking?.follow("payments") ?? Effect.void
  yield* keeping?.register({ service: "payments" }) ?? Effect.void
})

const behind = (front: FrontKind): Fault => ({
  id: "F23",
  title: `F23 behind etcd ${front}, which is restarted, and then etcd`,
  front,
  ttl: 10,
  promised: { keeps: true },
  stage: withNeighbour,
  run: (world) =>
    Effect.gen(function* () {
      const { front } = world
      if (front === undefined) return yield* Effect.fail(new Error("no front"))
      yield* world.during("nothing", {}, Effect.void, pause(2000), Effect.void)
      yield* world.during("front restarted", { cuts: true }, front.kill, pause(1000), front.start)
      yield* world.converged(world.promised.within)
      yield* world.during("etcd restarted", {}, world.server.kill("SIGKILL"), pause(500), world.server.start)
    })
})

/** One endpoint for a cluster: new connections go to a healthy member, the open one stays where it is. */
const balanced = (
  title: string,
  begin: (world: World) => Effect.Effect<unknown, Error>,
  after: (world: World) => Effect.Effect<unknown, Error>
): Fault => ({
  id: "F24",
  title: `F24 one load-balanced endpoint, ${title}`,
  members: 3,
  ttl: 10,
  promised: { keeps: true },
  stage: (world) => populate(world, { only: world.members.slice(0, 1) }),
  run: (world) =>
    Effect.gen(function* () {
      const [first, second] = world.members
      if (first === undefined || second === undefined) return
      yield* world.avoid(first.server)
      // A new connection would reach a healthy member, so clients recover while it lasts.
      yield* world.during(
        title,
        { cuts: true },
        Effect.andThen(first.proxy.retarget(second.server.endpoint), begin(world)),
        pause(world.promised.silence),
        Effect.void
      )
      yield* world.converged(world.promised.within + world.promised.slack)
      yield* after(world)
    })
})

/** Values that are not instances, some of which are known to break readers. */
const hostile: ReadonlyArray<readonly [name: string, value: string]> = [
  ["empty", ""],
  ["text", "not JSON"],
  ["number", "7"],
  ["list", "[]"],
  ["cut", '{"endpoints":["http://a:1"'],
  ["deep", `{"metadata":{"a":${"[".repeat(2000)}${"]".repeat(2000)}}}`],
  ["endpoints", '{"endpoints":"http://a:1"}'],
  ["another-id", '{"id":"else","endpoints":["http://a:1"]}'],
  ["large", `{"a":"${"x".repeat(900_000)}"}`]
]

/** The field of a response header that holds this number: field 1, a varint. */
const clusterIdBytes = (id: bigint): Uint8Array => {
  const bytes = [8]
  let rest = id
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Uint8Array.from([...bytes, Number(rest)])
}

/** A server that lies: bytes of its responses are replaced on their way. */
const lying = (
  title: string,
  lie: (world: World) => Effect.Effect<readonly [from: Uint8Array, to: Uint8Array], Error>
): Fault => ({
  id: "F27",
  title: `F27 etcd lies: ${title}`,
  ttl: 10,
  promised: { keeps: true },
  run: (world) =>
    Effect.gen(function* () {
      const rewrite = yield* lie(world)
      // While the server lies, nobody can show the truth.
      yield* world.during(
        "lies",
        { cuts: true },
        world.proxy.poison({ rewrite }, "down"),
        pause(4000),
        world.proxy.heal
      )
    })
})

const text = new TextEncoder()

export const surroundingFaults: ReadonlyArray<Fault> = [
  behind("gateway"),
  behind("grpc-proxy"),
  balanced(
    "whose member is cut off from the others",
    ({ cluster, server }) => cluster.cut(server),
    ({ cluster }) => cluster.mend
  ),
  balanced(
    "whose member hangs",
    ({ server }) => server.pause,
    ({ server }) => server.resume
  ),
  {
    id: "F25",
    title: "F25 a neighbour writes hostile values, again and again",
    ttl: 10,
    promised: { keeps: true },
    run: (world) =>
      Effect.gen(function* () {
        const lease = yield* world.operator.grant(600)
        const keys = hostile.map(([name]) => `${world.promised.namespace}/${world.service}/hostile-${name}`)
        const write = Effect.forEach(hostile, ([, value], index) =>
          world.operate(world.operator.put(keys[index] ?? "", value, lease)))
        yield* world.during(
          "hostile values",
          {},
          Effect.void,
          Effect.repeat(Effect.andThen(write, pause(200)), { times: 5 }),
          Effect.forEach(keys, (key) =>
            world.operate(world.operator.remove(key)))
        )
        yield* world.operator.revoke(lease)
      })
  },
  lying(
    "every key is one of another service",
    ({ service }) => Effect.succeed([text.encode(`/${service}/`), text.encode(`/${"x".repeat(service.length)}/`)])
  ),
  lying(
    "every response has another cluster id",
    ({ operator }) => Effect.map(operator.clusterId, (id) => [clusterIdBytes(id), clusterIdBytes(id ^ 1n)])
  ),
  {
    id: "F26",
    title: "F26 every certificate and the authority are replaced",
    tls: true,
    ttl: 10,
    promised: { keeps: true },
    run: (world) =>
      Effect.gen(function* () {
        const { certificates } = world
        if (certificates === undefined) return yield* Effect.fail(new Error("no certificates"))
        yield* world.during(
          "certificates replaced",
          {},
          world.server.kill("SIGKILL"),
          certificates.replace,
          world.server.start
        )
      })
  },
  {
    id: "F26",
    title: "F26 the password is replaced, and clients read the new one later",
    stage: (world) =>
      Effect.gen(function* () {
        yield* world.operator.protect(`${world.promised.namespace}/`)
        yield* populate(world, { username: "app", password: Effect.sync(() => Redacted.make(known(world))) })
      }),
    run: (world) =>
      world.during(
        "another password",
        { refuses: true },
        world.operator.setPassword(`${appPassword} of today`),
        Effect.andThen(world.proxy.reset, pause(3000)),
        Effect.sync(() => passwords.set(world, `${appPassword} of today`))
      )
  },
  {
    id: "F20",
    title: "F20 the role is away for 2 s, and keys are deleted after that",
    stage: (world) =>
      Effect.gen(function* () {
        yield* world.operator.protect(`${world.promised.namespace}/`)
        yield* populate(world, { username: "app", password: Effect.succeed(Redacted.make(appPassword)) })
      }),
    run: (world) =>
      Effect.gen(function* () {
        yield* world.during(
          "no role",
          { refuses: true },
          world.operator.permit(false),
          Effect.andThen(world.proxy.reset, pause(2000)),
          world.operator.permit(true)
        )
        yield* world.converged(world.promised.within)
        const { found } = yield* world.operator.read(`${world.promised.namespace}/${world.service}/keeping`)
        for (const { key } of found) {
          yield* world.during("deleted", {}, world.operate(world.operator.remove(key)), pause(200), Effect.void)
        }
      })
  }
]

const passwords = new WeakMap<World, string>()
const known = (world: World): string => passwords.get(world) ?? appPassword
