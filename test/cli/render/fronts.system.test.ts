// Debian's nginx and HAProxy on files that `etcd-discovery render` keeps, under churn and hostile instances.
import { Context, Effect, Exit, Layer, Scope } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { access } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { registerService, Registry } from "../../../mod.ts"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { obtainFronts } from "../../../tools/fronts.ts"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { runProgram } from "../../harness/program.ts"
import { attempt, eventually, freePort, get, pause } from "../../harness/real.ts"
import { versions } from "../../harness/versions.ts"

const main = new URL("../../../src/cli/main.ts", import.meta.url)

const instances = 50
/** How long instances come and go, in milliseconds. */
const churnMillis = 10_000

/** Instances that try to break or change the configuration. Each is a valid value for the registry. */
const hostile: ReadonlyArray<readonly [id: string, endpoint: string]> = [
  ["x;} server { listen 1; }", "http://127.0.0.2:1"],
  ["a b # c", "http://evil;}server{listen:80"],
  ["\"quoted\" 'id' \\", "http://127.0.0.3:1/;}"],
  ["$(touch hacked)`id`", "http://unresolvable.invalid:80"],
  ["é漢\u2028", "tcp://[::1]:65535"],
  ["-", "tcp://*:80"],
  ["server", "http://127.0.0.1:80;}"],
  ["b".repeat(253), "tcp://a{b}:80"]
]

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "fronts-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** One server that is every instance: it listens on all of 127.0.0.0/8 and returns the address that was asked. */
const backends = Effect.gen(function* () {
  const server = createServer((request, response) => response.end(request.socket.localAddress))
  yield* Effect.acquireRelease(
    attempt(() => new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve))),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
})

/** etcd with a registry, and instances that come and go. */
const world = Effect.gen(function* () {
  const etcd = yield* startEtcd({ ...(versions[0] === undefined ? {} : { version: versions[0] }) })
  const context = yield* Layer.build(
    Registry.layer({ lease: "shared" }).pipe(Layer.provideMerge(EtcdGrpc.layer({ endpoints: [etcd.endpoint] })))
  )
  const client = Context.get(context, Etcd)
  const outer = yield* Effect.scope
  const port = yield* backends
  const running = new Map<number, Scope.Closeable>()
  const add = Effect.fnUntraced(function* (index: number) {
    const scope = yield* Scope.fork(outer)
    running.set(index, scope)
    yield* registerService("orders", {
      id: `orders-${index}`,
      endpoints: [`http://127.0.0.${index}:${port}`],
      weight: 1 + index % 3
    }).pipe(Effect.provideContext(context), Scope.provide(scope))
  })
  const remove = Effect.fnUntraced(function* (index: number) {
    const scope = running.get(index)
    running.delete(index)
    if (scope !== undefined) yield* Scope.close(scope, Exit.void)
  })
  const { id: lease } = yield* client.leaseGrant({ ttl: 600 })
  const attack = Effect.forEach(
    hostile,
    ([id, endpoint]) =>
      client.put({ key: `/services/orders/${id}`, value: JSON.stringify({ endpoints: [endpoint] }), lease }),
    {
      discard: true
    }
  )
  /** Instance 1 stays; the others come and go. */
  const churn = Effect.gen(function* () {
    const until = performance.now() + churnMillis
    for (let step = 0; performance.now() < until; step++) {
      const index = 2 + step * 7 % (instances - 1)
      yield* running.has(index) ? remove(index) : add(index)
      if (step === 20) yield* attack
      yield* pause(10)
    }
  })
  /** Leaves these instances only. */
  const settleOn = Effect.fnUntraced(function* (...wanted: ReadonlyArray<number>) {
    for (const index of [...running.keys()]) if (!wanted.includes(index)) yield* remove(index)
    for (const index of wanted) if (!running.has(index)) yield* add(index)
    for (const [id] of hostile) yield* client.deleteRange({ key: `/services/orders/${id}` })
  })
  return { etcd, add, churn, settleOn }
})

/** Sends a signal to the front if it serves already. */
const reload = (root: string, signal: string) =>
  `[ ! -s ${root}/pid ] || kill -${signal} $(cat ${root}/pid); touch ${root}/rendered`

/** Runs nginx or HAProxy for the lifetime of the scope. Its workers would survive the SIGKILL of their master. */
const runFront = Effect.fnUntraced(function* (
  file: string,
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>>
) {
  const program = yield* runProgram({ file, runtime: "native", args, env })
  yield* Effect.addFinalizer(() => Effect.andThen(program.signal("SIGTERM"), program.exit))
  return program
})

/** Sends requests to the front until the body ends. Returns the number of answers; fails if one is missing. */
const underLoad = Effect.fnUntraced(function* <E>(front: string, body: Effect.Effect<void, E>) {
  let answers = 0
  const ask = Effect.map(get(front, 10_000), (address) => {
    assert.match(address, /^127\.0\.0\.\d+$/)
    answers++
  })
  yield* Effect.raceFirst(Effect.forever(ask), body)
  return answers
})

describe("render: nginx and HAProxy under churn", () => {
  live(
    "nginx serves on rendered upstreams under churn of 50 instances and never loads a broken one",
    () =>
      Effect.gen(function* () {
        const { env, nginx } = obtainFronts()
        const root = yield* folder
        const { add, churn, etcd, settleOn } = yield* world
        const port = yield* freePort
        const upstream = join(root, "upstream.conf")
        const config = (file: string) => `
daemon off; pid ${root}/nginx.pid; error_log stderr notice; worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path ${root}/body; proxy_temp_path ${root}/proxy; fastcgi_temp_path ${root}/fastcgi;
  uwsgi_temp_path ${root}/uwsgi; scgi_temp_path ${root}/scgi;
  include ${file};
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://orders; } }
}
`
        writeFileSync(join(root, "nginx.conf"), config(upstream))
        writeFileSync(join(root, "check.template"), config("@FILE@"))
        yield* add(1)
        const check = `sed "s|@FILE@|$FILE|" ${root}/check.template > ${root}/check.conf && ` +
          `${nginx} -t -q -p ${root} -c ${root}/check.conf`
        const render = yield* runProgram({
          file: main,
          args: [
            ...["render", "orders", "--endpoints", etcd.endpoint, "--format", "nginx", "--output", upstream],
            ...["--wait", "50 millis:200 millis", "--check", check, "--log-level", "info"],
            ...["--reload", reload(root, "HUP")]
          ],
          env
        })
        yield* eventually(attempt(() => access(join(root, "rendered"))))
        const server = yield* runFront(nginx, ["-p", root, "-c", join(root, "nginx.conf")], env)
        const front = `http://127.0.0.1:${port}/`
        yield* eventually(get(front))
        writeFileSync(join(root, "pid"), String(server.pid))
        const answers = yield* underLoad(front, churn)
        yield* settleOn(1, 2, 3)
        yield* eventually(Effect.suspend(() => {
          const found = readFileSync(upstream, "utf8").match(/127\.0\.0\.\d+(?=:)/g)
          return found?.join() === "127.0.0.1,127.0.0.2,127.0.0.3" ? Effect.void : Effect.fail(String(found))
        }))
        yield* eventually(Effect.gen(function* () {
          const round = yield* Effect.forEach(Array.from({ length: 30 }), () => get(front))
          const addresses = [...new Set(round)].sort().join()
          if (addresses !== "127.0.0.1,127.0.0.2,127.0.0.3") return yield* Effect.fail(addresses)
        }))
        const log = yield* server.stderr
        assert.doesNotMatch(log, /\[emerg\]|\[alert\]|\[crit\]/)
        assert.ok((log.match(/reconfiguring/g) ?? []).length > 5, log)
        assert.doesNotMatch(yield* render.stderr, /^error/m)
        assert.match(yield* render.stderr, /omitted from "orders"/)
        assert.ok(answers > 100, String(answers))
      }),
    { timeout: 120_000 }
  )

  live(
    "HAProxy serves on rendered backends under churn of 50 instances and never loads a broken one",
    () =>
      Effect.gen(function* () {
        const { env, haproxy } = obtainFronts()
        const root = yield* folder
        const { add, churn, etcd, settleOn } = yield* world
        const port = yield* freePort
        const backends = join(root, "backends.cfg")
        writeFileSync(
          join(root, "main.cfg"),
          `
defaults
    mode http
    # As nginx does: try another server if one does not accept the connection.
    option redispatch 1
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend main
    bind 127.0.0.1:${port}
    default_backend orders
`
        )
        yield* add(1)
        const render = yield* runProgram({
          file: main,
          args: [
            ...["render", "orders", "--endpoints", etcd.endpoint, "--format", "haproxy", "--output", backends],
            ...["--wait", "50 millis:200 millis", "--check", `${haproxy} -c -q -f ${root}/main.cfg -f "$FILE"`],
            ...["--reload", reload(root, "USR2")],
            ...["--log-level", "info"]
          ],
          env
        })
        yield* eventually(attempt(() => access(join(root, "rendered"))))
        const server = yield* runFront(haproxy, ["-W", "-db", "-f", join(root, "main.cfg"), "-f", backends], env)
        const front = `http://127.0.0.1:${port}/`
        yield* eventually(get(front))
        writeFileSync(join(root, "pid"), String(server.pid))
        const answers = yield* underLoad(front, churn)
        yield* settleOn(1, 2, 3)
        yield* eventually(Effect.gen(function* () {
          const round = yield* Effect.forEach(Array.from({ length: 30 }), () => get(front))
          const addresses = [...new Set(round)].sort().join()
          if (addresses !== "127.0.0.1,127.0.0.2,127.0.0.3") return yield* Effect.fail(addresses)
        }))
        const log = yield* server.stderr
        assert.doesNotMatch(log, /\[ALERT\]/)
        assert.ok((log.match(/Reloading HAProxy/g) ?? []).length > 5, log)
        assert.doesNotMatch(yield* render.stderr, /^error/m)
        assert.ok(answers > 100, String(answers))
      }),
    { timeout: 120_000 }
  )
})
