/**
 * The demo: three instances register, a consumer follows them, one shuts down gracefully and one is killed.
 *
 *     deno task demo                              on the embedded engine: no server, no permission
 *     deno task demo --etcd                       on an etcd that the demo starts and stops
 *     deno task demo --etcd http://10.0.0.9:2379  on that etcd; ETCD_ENDPOINTS does the same
 *
 * Bun and Node run it as well: `bun examples/demo.ts`, `node examples/demo.ts`.
 */
import { Console, Effect, Exit, Layer, Option, References, Scope, Stream, SubscriptionRef } from "effect"
import process from "node:process"
import { discover, type InstanceSet, runMain } from "../mod.ts"
import { type Etcd, prefix } from "../src/etcd/mod.ts"
import * as Screen from "./demo/screen.ts"
import { embedded, type Instance, register, registryOf, service, type Stage, ttlSeconds } from "./demo/stage.ts"

const usage = `usage: demo [--etcd [http://host:port,…]]
  without arguments  on the embedded engine (or on ETCD_ENDPOINTS, if that is set)
  --etcd             on an etcd that the demo starts
  --etcd URL         on the etcd at that URL`

const instance = (number: number): Instance => ({
  id: `${service}-${number}`,
  endpoint: `http://10.0.0.${number}:8080`,
  zone: `eu-${number}`,
  version: `1.${number}.0`
})

/** The demo on any stage. */
const story = Effect.fnUntraced(function* (stage: Stage) {
  const screen = yield* Screen.make(`Service discovery on ${stage.place}`)
  const etcd = yield* stage.connect
  const registry = yield* Layer.build(registryOf(etcd, stage.namespace))
  const seen = yield* SubscriptionRef.make<InstanceSet.InstanceSet | undefined>(undefined)

  /** Waits until the consumer has received a matching set. */
  const awaitSet = Effect.fnUntraced(function* (what: string, isIt: (set: InstanceSet.InstanceSet) => boolean) {
    const found = yield* SubscriptionRef.changes(seen).pipe(
      Stream.filter((set) => set !== undefined && isIt(set)),
      Stream.runHead,
      Effect.timeoutOption("30 seconds")
    )
    if (Option.isNone(found)) return yield* Effect.fail(new Error(`the consumer did not receive ${what} within 30 s`))
  })
  /** Time to read on a terminal. */
  const pause = screen.isLive ? Effect.sleep("1500 millis") : Effect.void

  // The consumer: one stream of complete sets.
  yield* screen.say(`A consumer discovers "${service}". The first set is empty: no instance is registered yet.`)
  yield* discover(service).pipe(
    Stream.runForEach((set) => Effect.andThen(screen.show(set), SubscriptionRef.set(seen, set))),
    Effect.provide(registry),
    Effect.forkScoped
  )
  if (screen.isLive) {
    yield* leasesLeft(etcd, stage.namespace).pipe(
      Effect.flatMap(screen.leases),
      Effect.ignore,
      Effect.andThen(Effect.sleep("250 millis")),
      Effect.forever,
      Effect.forkScoped
    )
  }
  yield* awaitSet("an empty set", (set) => set.size === 0)
  yield* pause

  // Three instances, each with its own scope or process.
  yield* screen.say(`Three instances register. Heartbeats keep the lease of each key alive (TTL ${ttlSeconds} s).`)
  const closing = yield* Scope.fork(yield* Effect.scope)
  const staying = yield* Scope.fork(yield* Effect.scope)
  yield* register(instance(1)).pipe(Effect.provide(registry), Scope.provide(closing))
  yield* awaitSet("one instance", (set) => set.size === 1)
  const killable = yield* stage.spawn(instance(2))
  yield* awaitSet("two instances", (set) => set.size === 2)
  yield* register(instance(3)).pipe(Effect.provide(registry), Scope.provide(staying))
  yield* awaitSet("three instances", (set) => set.size === 3)
  yield* pause

  yield* screen.say(
    `${instance(1).id} shuts down: it publishes "draining", waits 1 s for calls in flight, and revokes its ` +
      "lease, which deletes its key."
  )
  yield* Scope.close(closing, Exit.void)
  yield* awaitSet("two instances", (set) => set.size === 2)
  yield* pause

  yield* screen.say(
    `${instance(2).id} is killed: ${killable.how}. It stays in the set until its lease expires, ` +
      `${ttlSeconds} s after its last heartbeat.`
  )
  yield* killable.kill
  yield* awaitSet("one instance", (set) => set.size === 1)
  yield* pause

  yield* screen.say(`${instance(3).id} shuts down as well.`)
  yield* Scope.close(staying, Exit.void)
  yield* awaitSet("an empty set", (set) => set.size === 0)

  const { count } = yield* etcd.range({ ...prefix(`${stage.namespace}/`), countOnly: true })
  yield* screen.say(`Done. etcd holds ${count} keys of this demo.`)
})

/** The seconds that the lease of each instance has left. */
const leasesLeft = Effect.fnUntraced(function* (etcd: Etcd, namespace: string) {
  const range = prefix(`${namespace}/${service}/`)
  const { kvs } = yield* etcd.range({ ...range, keysOnly: true })
  const entries = yield* Effect.forEach(
    kvs,
    ({ key, lease }) =>
      Effect.map(etcd.leaseTimeToLive({ id: lease }), ({ ttl }): readonly [string, number] => {
        const text = new TextDecoder().decode(key)
        return [text.slice(text.lastIndexOf("/") + 1), Math.max(0, ttl)]
      })
  )
  return new Map(entries)
})

/** The part of Deno's own API that is used if it exists. */
interface Permissions {
  readonly query: (of: { readonly name: "env"; readonly variable: string }) => Promise<{ readonly state: string }>
}

/** ETCD_ENDPOINTS, if this process may read it. Without that check, Deno would prompt for the permission. */
const endpointsOfEnvironment = Effect.promise(async () => {
  const { Deno: deno } = globalThis as typeof globalThis & { readonly Deno?: { readonly permissions: Permissions } }
  const permission = await deno?.permissions.query({ name: "env", variable: "ETCD_ENDPOINTS" })
  return permission === undefined || permission.state === "granted" ?
    process.env["ETCD_ENDPOINTS"] || undefined :
    undefined
})

/** The stage on a real etcd, loaded on demand because it needs permissions. */
const real = (endpoints?: string) =>
  Effect.flatMap(Effect.promise(() => import("./demo/server.ts")), ({ real }) => real(endpoints))

const main = Effect.gen(function* () {
  const [flag, url, ...rest] = process.argv.slice(2).flatMap((arg) => arg.split(/(?<=^--etcd)=/))
  if ((flag !== undefined && flag !== "--etcd") || rest.length > 0) {
    process.exitCode = flag === "--help" || flag === "-h" ? 0 : 2
    return yield* Console.log(usage)
  }
  const endpoints = url ?? (flag === undefined ? yield* endpointsOfEnvironment : undefined)
  yield* story(yield* flag === undefined && endpoints === undefined ? embedded : real(endpoints))
}).pipe(
  Effect.scoped,
  // The screen already shows the content of the log.
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.catch((error) => {
    process.exitCode = 1
    return Console.error(`demo: ${error.message}`)
  })
)

runMain(main)
