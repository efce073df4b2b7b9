/**
 * The soak: one process with 200 registrations and 200 subscriptions, a fault every so often, and a census after each.
 *
 *     deno task soak [--minutes 10] [--every 20] [--runtime deno|bun|node|all] [--seed 1]
 *
 * After each fault the process must get everything right again; what is then alive (memory, sockets, timers, fibers;
 * watchers and leases in etcd) must be what was alive before. The slopes are printed; a slope that is not flat fails.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { readdirSync, readlinkSync } from "node:fs"
import process from "node:process"
import { isDeepStrictEqual, parseArgs } from "node:util"
import { obtainRuntime, type RuntimeName, runtimeNames } from "../../tools/runtimes.ts"
import { makeSecretSearch, secretPrinted } from "../../tools/secret.ts"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { rangeAll } from "../../src/etcd/rangeAll.ts"
import { type EtcdServer, startEtcd } from "../harness/EtcdServer.ts"
import { runProgram } from "../harness/program.ts"
import { makeProxy, type Proxy } from "../harness/Proxy.ts"
import { eventually } from "../harness/real.ts"
import { randomOf } from "../harness/seed.ts"
import { observer } from "../registry/registration/support.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    every: { type: "string", default: "20" },
    runtime: { type: "string", default: "deno" },
    seed: { type: "string", default: "1" }
  }
})
const minutes = Number(values.minutes)
const every = Number(values.every) * 1000
const seed = Number(values.seed)
const runtimes = runtimeNames.filter((name) => values.runtime === "all" || values.runtime === name)
if (!(minutes > 0 && every > 0 && Number.isInteger(seed)) || runtimes.length === 0) {
  console.error(
    `--minutes and --every (seconds) above 0, --seed a whole number, --runtime ${runtimeNames.join(", ")}, all`
  )
  process.exit(2)
}

interface Rig {
  readonly server: EtcdServer
  readonly proxy: Proxy
  readonly etcd: Etcd
  /** Some of these, by the seed. */
  readonly some: <A>(all: ReadonlyArray<A>) => ReadonlyArray<A>
}

type Fault = (rig: Rig) => Effect.Effect<unknown, unknown>

const keys = ({ etcd }: Rig) => rangeAll(etcd, { ...prefix("/services/"), keysOnly: true })
const restarted = ({ server }: Rig, between: Effect.Effect<unknown, unknown> = Effect.void) =>
  server.kill("SIGKILL").pipe(Effect.andThen(between), Effect.andThen(server.start))

const faults: Readonly<Record<string, Fault>> = {
  "connections reset": ({ proxy }) => proxy.reset,
  "etcd killed and restarted": (rig) => restarted(rig),
  "10 % of the leases revoked": (rig) =>
    Effect.flatMap(
      rig.etcd.leaseLeases,
      ({ leases }) => Effect.forEach(rig.some(leases), (id) => Effect.ignore(rig.etcd.leaseRevoke(id)))
    ),
  "black hole for 4 s": ({ proxy }) =>
    proxy.blackhole().pipe(Effect.andThen(Effect.sleep(4000)), Effect.andThen(proxy.heal)),
  "10 % of the keys deleted": (rig) =>
    Effect.flatMap(keys(rig), ({ kvs }) => Effect.forEach(rig.some(kvs), ({ key }) => rig.etcd.deleteRange({ key }))),
  "etcd hung for 7 s, beyond the TTL": ({ server }) =>
    server.pause.pipe(Effect.andThen(Effect.sleep(7000)), Effect.andThen(server.resume)),
  "etcd back on an empty folder": (rig) => restarted(rig, rig.server.wipe),
  "compaction while refused": (rig) =>
    Effect.gen(function* () {
      yield* rig.proxy.refuse
      yield* rig.proxy.reset
      yield* rig.etcd.put({ key: "/elsewhere", value: "1" })
      const { header } = yield* rig.etcd.put({ key: "/elsewhere", value: "2" })
      yield* rig.etcd.compact({ revision: header.revision })
      yield* rig.proxy.accept
    })
}

type Census = Readonly<Record<string, number>>

/** Sockets of a process, where the system reports them. */
const socketsOf = (pid: number): Census => {
  try {
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`)
      } catch {
        return "" // closed in between
      }
    })
    return { sockets: links.filter((link) => link.startsWith("socket:")).length }
  } catch {
    return {}
  }
}

/** What the process must have in etcd: a lease for each registration, a watcher for each own key and each service. */
const rightInEtcd: Census = { leases: 200, watchers: 300 }

/** Waits until etcd has exactly that: what was left behind has run out, and what was lost has been opened again. */
const inEtcd = ({ etcd, server }: Rig): Effect.Effect<Census, unknown> =>
  eventually(
    Effect.gen(function* () {
      const census: Census = {
        leases: (yield* etcd.leaseLeases).leases.length,
        watchers: yield* server.metric("etcd_debugging_mvcc_watcher_total")
      }
      return isDeepStrictEqual(census, rightInEtcd) ? census : yield* Effect.fail(`${JSON.stringify(census)} in etcd`)
    }),
    { every: 200, limit: 30_000 }
  )

/** What grows by this much from the first to the last census, by its slope, is a leak. */
const allowed = (figure: string, first: number): number =>
  ({ "heap MB": Math.max(4, first * 0.1), fibers: first * 0.1, timers: first * 0.2 })[figure] ?? 2

const slopeOf = (points: ReadonlyArray<number>): number => {
  const middle = (points.length - 1) / 2
  const mean = points.reduce((sum, point) => sum + point, 0) / points.length
  const up = points.reduce((sum, point, index) => sum + (index - middle) * (point - mean), 0)
  return up / points.reduce((sum, _, index) => sum + (index - middle) ** 2, 0)
}

const collecting: Readonly<Record<RuntimeName, ReadonlyArray<string>>> = {
  deno: ["-A", "--v8-flags=--expose-gc"],
  bun: [],
  node: ["--expose-gc"]
}

const soak = (runtime: RuntimeName): Effect.Effect<boolean, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const random = randomOf(seed)
    const server = yield* startEtcd()
    const proxy = yield* makeProxy(server)
    const rig: Rig = {
      server,
      proxy,
      etcd: yield* observer(server),
      some: (all) => all.filter(() => random() < 0.1)
    }
    const program = yield* runProgram({
      file: new URL("./program.ts", import.meta.url),
      runtime,
      runtimeArgs: collecting[runtime],
      args: [proxy.endpoint]
    })
    const search = makeSecretSearch()
    program.onLine(({ from, text }) => {
      search(text)
      if (from === "stderr") console.error(text)
    })
    yield* program.awaitLine("ready")

    let asked = 0
    const take = Effect.gen(function* () {
      const before = yield* inEtcd(rig)
      yield* program.signal("SIGUSR2")
      asked += 1
      yield* eventually(
        Effect.flatMap(answers, (all) => all.length >= asked ? Effect.void : Effect.fail("no answer")),
        {
          every: 100,
          limit: 90_000
        }
      )
      const answer = (yield* answers)[asked - 1] ?? ""
      if (answer.startsWith("wrong")) return yield* Effect.fail(new Error(`after the fault: ${answer}`))
      const alive: Census = JSON.parse(answer.slice("census ".length))
      return { ...alive, ...socketsOf(program.pid), ...before, ...(yield* inEtcd(rig)) }
    })
    const answers = Effect.map(
      program.lines,
      (lines) => lines.map(({ text }) => text).filter((text) => /^(census|wrong) /.test(text))
    )

    const censuses: Array<Census> = []
    const start = performance.now()
    const all = Object.entries(faults)
    for (let round = 0; performance.now() - start < minutes * 60_000; round++) {
      const [title, fault] = all[round % all.length] ?? ["", () => Effect.void]
      const at = performance.now()
      yield* fault(rig)
      const census = yield* take
      // The first round of faults warms up: what is loaded lazily is loaded then.
      if (round >= 2) censuses.push(census)
      const figures = Object.entries(census).map(([name, value]) => `${name} ${Math.round(value * 10) / 10}`).join(", ")
      console.log(
        `${runtime} ${title}: right again ${((performance.now() - at) / 1000).toFixed(1)} s after; ${figures}`
      )
      yield* Effect.sleep(Math.max(0, every - (performance.now() - at)))
    }

    let flat = true
    for (const figure of Object.keys(censuses[0] ?? {})) {
      const points = censuses.map((census) => census[figure] ?? Number.NaN)
      const growth = slopeOf(points) * (points.length - 1)
      const isFlat = growth <= allowed(figure, points[0] ?? 0)
      flat &&= isFlat
      console.log(
        `${runtime} ${figure}: ${points[0]?.toFixed(1)} to ${
          points.at(-1)?.toFixed(1)
        } in ${points.length} censuses, ` +
          `slope ${slopeOf(points).toFixed(3)} a fault${isFlat ? "" : "  NOT FLAT"}`
      )
    }
    const leaked = search("")
    if (leaked) console.error(secretPrinted)
    return flat && censuses.length >= 3 && !leaked
  })

console.log(`soak: ${minutes} minutes a runtime, a fault every ${every / 1000} s, seed ${seed}`)
runtimes.forEach(obtainRuntime)
let flat = 0
for (const runtime of runtimes) if (await Effect.runPromise(Effect.scoped(soak(runtime)))) flat += 1
console.log(`${flat} passed, ${runtimes.length - flat} failed`)
process.exit(flat === runtimes.length ? 0 : 1)
