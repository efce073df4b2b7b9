import { Effect, Exit, Metric, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { Freshness, Registry, Service } from "../../mod.ts"
import * as Follower from "../../src/monitoring/Follower.ts"
import { Monitoring } from "../../src/monitoring/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import {
  a,
  elapse,
  keyOfA,
  type Process,
  putInstance,
  register,
  settle,
  start,
  verify,
  withDraw,
  world
} from "../harness/virtual.ts"

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

/** The routes over the registry of a process. Time passes until the answer is there. */
const routes = Effect.fnUntraced(function* ({ registry }: Process, options?: Monitoring.Options) {
  const handler = yield* Monitoring.webHandler(options).pipe(Effect.provideService(Registry.Registry, registry))
  return (path: string, init?: RequestInit): Effect.Effect<Answer, never, Scope.Scope> =>
    Effect.gen(function* () {
      const asked = yield* start(Effect.promise(async () => {
        const response = await handler(new Request(`http://localhost${path}`, init))
        return { status: response.status, text: await response.text(), headers: response.headers }
      }))
      for (let seconds = 0; asked.exit() === undefined && seconds < 30; seconds++) yield* elapse("1 second")
      return yield* asked.exit() ?? assert.fail(`${path} is not answered`)
    })
})

const idsIn = ({ status, text }: Answer): ReadonlyArray<string> => {
  assert.equal(status, 200, text)
  return JSON.parse(text).map(({ labels }: { labels: Record<string, string> }) => labels["__meta_etcd_id"])
}

describe("/sd/prometheus", () => {
  verify(
    "/sd/prometheus lists the instances of every service, or of the requested ones",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const get = yield* routes(yield* process())
        yield* putInstance(operator, "a")
        yield* putInstance(operator, "b", { status: "draining", endpoints: ["http://b:80", "grpc://b:81"] })
        const { id: lease } = yield* Effect.orDie(operator.leaseGrant({ ttl: 1000 }))
        yield* operator.put({ key: "/services/users/u", value: `{"endpoints":["http://u:1"]}`, lease })
        const answer = yield* get("/sd/prometheus")
        assert.equal(answer.headers.get("content-type"), "application/json")
        assert.equal(answer.headers.get("cache-control"), "no-store")
        assert.deepEqual(idsIn(answer), ["a", "b", "u"])
        assert.deepEqual(idsIn(yield* get("/sd/prometheus?service=users&service=nobody")), ["u"])
        assert.deepEqual(idsIn(yield* get("/sd/prometheus?status=draining")), ["b"])
        assert.deepEqual(idsIn(yield* get("/sd/prometheus?scheme=grpc")), ["b"])
        assert.deepEqual(idsIn(yield* get("/sd/prometheus?service=nobody")), [])
        yield* operator.leaseRevoke(lease)
        yield* settle
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a", "b"])
      })
  )

  verify("/sd/prometheus responds with 400 to unknown or invalid parameters", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const get = yield* routes(yield* process())
      assert.equal((yield* get("/sd/prometheus?services=orders")).status, 400)
      assert.equal((yield* get("/sd/prometheus?status=gone")).status, 400)
      assert.equal((yield* get("/sd/prometheus", { method: "POST" })).status, 404)
      assert.equal((yield* get("/sd/other")).status, 404)
    }))

  verify(
    "/sd/prometheus responds with 503 while the instances are unknown, never with an empty list",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const get = yield* routes(one)
        yield* putInstance(operator, "a")
        yield* one.faults.outage
        const unknown = yield* get("/sd/prometheus")
        assert.deepEqual([unknown.status, unknown.headers.get("retry-after")], [503, "5"])
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a"])
      })
  )

  verify(
    "/sd/prometheus responds with 503 while etcd refuses the read, and recovers afterwards",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const get = yield* routes(one)
        yield* putInstance(operator, "a")
        yield* one.faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
        assert.equal((yield* get("/sd/prometheus")).status, 503)
        assert.ok(log.some((line) => line.startsWith("Warn cannot follow the namespace")), log.join("\n"))
        yield* one.faults.clear
        yield* elapse("15 seconds")
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a"])
      })
  )

  verify(
    "/sd/prometheus lists the last known instances for maxStale, then responds with 503",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const get = yield* routes(one, { maxStale: "2 minutes" })
        yield* putInstance(operator, "a")
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a"])
        yield* one.faults.outage
        yield* elapse("110 seconds")
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a"])
        yield* elapse("30 seconds")
        assert.equal((yield* get("/sd/prometheus")).status, 503)
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(idsIn(yield* get("/sd/prometheus")), ["a"])
      })
  )

  verify(
    "Follower ages a Live value after its stream died, until the next value",
    (log) =>
      Effect.gen(function* () {
        let runs = 0
        const values = Stream.suspend(() => {
          runs += 1
          const value = Stream.succeed({ freshness: Freshness.Live(), runs })
          return runs === 1 ?
            Stream.concat(value, Stream.die("a defect")) :
            runs === 2 ?
            Stream.die("a defect") :
            Stream.concat(value, Stream.never)
        })
        const { known } = yield* Follower.make("numbers", values).pipe(withDraw(1))
        const first = yield* start(Effect.andThen(known, Effect.andThen(Effect.sleep(900), known)))
        yield* elapse(900)
        assert.deepEqual(
          first.exit(),
          Exit.succeed({ value: { freshness: Freshness.Live(), runs: 1 }, ageMillis: 900 })
        )
        yield* elapse("15 seconds")
        assert.deepEqual(yield* known, { value: { freshness: Freshness.Live(), runs: 3 }, ageMillis: 0 })
        assert.equal(log.filter((line) => line === "Warn cannot follow numbers; retrying").length, 2, log.join())
      })
  )

  verify(
    "/sd/prometheus with services follows only these, and needs no read permission on others",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const get = yield* routes(one, { services: ["orders"], prefix: "/internal" })
        yield* putInstance(operator, "a")
        assert.deepEqual(idsIn(yield* get("/internal/sd/prometheus")), ["a"])
        assert.deepEqual((yield* one.faults.openWatches).map(({ key }) => key), ["/services/orders/"])
        assert.equal((yield* get("/internal/sd/prometheus?service=users")).status, 404)
        assert.equal((yield* get("/sd/prometheus")).status, 404)
        assert.equal((yield* get("/internal/livez")).status, 200)
      })
  )

  verify(
    "Monitoring starts its watch at the first request to /sd/prometheus, and ends it with the scope",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* Effect.scoped(Effect.gen(function* () {
          const get = yield* routes(one)
          yield* get("/livez")
          yield* get("/readyz")
          yield* get("/metrics")
          assert.equal((yield* one.faults.openWatches).length, 0)
          yield* get("/sd/prometheus")
          yield* get("/sd/prometheus")
          assert.equal((yield* one.faults.openWatches).length, 1)
        }))
        yield* elapse("2 seconds")
        assert.equal((yield* one.faults.openWatches).length, 0)
      })
  )

  verify("Monitoring refuses invalid options before anything is sent", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      for (const options of [{ maxStale: -1 }, { prefix: "internal" }, { prefix: "/a/" }, { services: ["a/b"] }]) {
        const error = yield* Effect.flip(routes(one, options))
        assert.equal(error._tag, "InvalidOption")
        assert.equal(error.of, "Monitoring.webHandler")
      }
    }))
})

describe("/livez and /readyz", () => {
  verify("/readyz is 200 while an instance is registered and up, and /livez always", (log) =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.outage
      const kept = yield* register(one, { ...a, startup: "background" })
      const get = yield* routes(one, { ready: Monitoring.registered(kept.registration) })
      const both = Effect.map(Effect.all([get("/readyz"), get("/livez")]), (all) => all.map(({ status }) => status))
      assert.deepEqual(yield* both, [503, 200])
      assert.ok(log.some((line) => line.startsWith("Warn the process is not ready")), log.join("\n"))
      yield* one.faults.clear
      yield* elapse("10 seconds")
      assert.deepEqual(yield* both, [200, 200])
      yield* kept.registration.drain
      assert.deepEqual(yield* both, [503, 200])
      yield* operator.deleteRange({ key: keyOfA })
    }))

  verify(
    "/readyz does not reveal why the process is not ready, and gives up after 5 seconds",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const failing = yield* routes(one, { ready: Effect.fail(new Error("secret")) })
        assert.deepEqual([(yield* failing("/readyz")).status, (yield* failing("/readyz")).text], [503, "not ready\n"])
        const dying = yield* routes(one, { ready: Effect.die("secret") })
        assert.equal((yield* dying("/readyz")).text, "not ready\n")
        const hanging = yield* routes(one, { ready: Effect.never })
        assert.equal((yield* hanging("/readyz")).status, 503)
      })
  )
})

describe("/metrics", () => {
  verify(
    "/metrics has the metrics of the process in Prometheus' format, with escaped labels",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const name = 'a"b\\c'
        yield* one.registry.register(Service.make(name), a)
        const get = yield* routes(one)
        const { headers, status, text } = yield* get("/metrics")
        assert.equal(status, 200)
        assert.match(headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
        assert.ok(text.includes(`etcd_discovery_claims_total{service="a\\"b\\\\c"} 1\n`), text)
        assert.ok(text.includes("# TYPE etcd_discovery_claims_total counter\n"))
        assert.equal((yield* Metric.snapshot).length > 0, true)
      })
  )
})
