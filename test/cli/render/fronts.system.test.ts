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
/** How long instances come and go at least, in milliseconds. */
const churnMillis = 10_000
/** How often the front is reloaded, and how often it answers meanwhile, at least. */
const minReloads = 6
const minAnswers = 100

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
  /** Instance 1 stays; the others come and go until there has been enough of it. */
  const churn = Effect.fnUntraced(function* <E>(isEnough: Effect.Effect<boolean, E>) {
    const until = performance.now() + churnMillis
    for (let step = 0; performance.now() < until || !(yield* isEnough); step++) {
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

/** Reloads the front if it serves already. `command` has its process id as `$pid`. */
const reload = (root: string, command: string) =>
  `if [ -s ${root}/pid ]; then pid=$(cat ${root}/pid); ${command}; fi; touch ${root}/rendered`

/**
 * Ends when HAProxy has a new worker. HAProxy 2.6 drops a SIGUSR2 that arrives 10 to 50 ms after another one, while it
 * reads its files, and then serves the older ones.
 */
const reloadHaproxy = "old=$(pgrep -n -P $pid); kill -USR2 $pid; " +
  'while kill -0 $pid; do new=$(pgrep -n -P $pid); [ "${new:-$old}" = "$old" ] || break; sleep 0.02; done'

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

/** Whether the log says so often enough that the front was reloaded, and there were enough answers. */
const isEnough = <E>(log: Effect.Effect<string, E>, reloaded: RegExp, answers: () => number) =>
  Effect.map(log, (text) => (text.match(reloaded) ?? []).length >= minReloads && answers() >= minAnswers)

/** Waits until the file has these addresses. */
const isRendered = (file: string, addresses: string) =>
  eventually(Effect.suspend(() => {
    const found = readFileSync(file, "utf8").match(/127\.0\.0\.\d+(?=:)/g)?.join()
    return found === addresses ? Effect.void : Effect.fail(`${file}: ${found}`)
  }))

/** Sends requests to the front until the body ends. Fails if an answer is missing. */
const underLoad = Effect.fnUntraced(
  function* <E>(front: string, body: (answers: () => number) => Effect.Effect<void, E>) {
    let answers = 0
    const ask = Effect.map(get(front, 10_000), (address) => {
      assert.match(address, /^127\.0\.0\.\d+$/)
      answers++
    })
    yield* Effect.raceFirst(Effect.forever(ask), body(() => answers))
  }
)

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
            ...["--reload", reload(root, "kill -HUP $pid")]
          ],
          env
        })
        yield* eventually(attempt(() => access(join(root, "rendered"))))
        const server = yield* runFront(nginx, ["-p", root, "-c", join(root, "nginx.conf")], env)
        const front = `http://127.0.0.1:${port}/`
        yield* eventually(get(front))
        writeFileSync(join(root, "pid"), String(server.pid))
        yield* underLoad(front, (answers) => churn(isEnough(server.stderr, /reconfiguring/g, answers)))
        yield* settleOn(1, 2, 3)
        yield* isRendered(upstream, "127.0.0.1,127.0.0.2,127.0.0.3")
        yield* eventually(Effect.gen(function* () {
          const round = yield* Effect.forEach(Array.from({ length: 30 }), () => get(front))
          const addresses = [...new Set(round)].sort().join()
          if (addresses !== "127.0.0.1,127.0.0.2,127.0.0.3") return yield* Effect.fail(addresses)
        }))
        const log = yield* server.stderr
        assert.doesNotMatch(log, /\[emerg\]|\[alert\]|\[crit\]/)
        assert.doesNotMatch(yield* render.stderr, /^error/m)
        assert.match(yield* render.stderr, /omitted from "orders"/)
      })
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
            ...["--reload", reload(root, reloadHaproxy)],
            ...["--log-level", "info"]
          ],
          env
        })
        yield* eventually(attempt(() => access(join(root, "rendered"))))
        const server = yield* runFront(haproxy, ["-W", "-db", "-f", join(root, "main.cfg"), "-f", backends], env)
        const front = `http://127.0.0.1:${port}/`
        yield* eventually(get(front))
        writeFileSync(join(root, "pid"), String(server.pid))
        yield* underLoad(front, (answers) => churn(isEnough(server.stderr, /Reloading HAProxy/g, answers)))
        yield* settleOn(1, 2, 3)
        yield* isRendered(backends, "127.0.0.1,127.0.0.2,127.0.0.3")
        yield* eventually(Effect.gen(function* () {
          const round = yield* Effect.forEach(Array.from({ length: 30 }), () => get(front))
          const addresses = [...new Set(round)].sort().join()
          if (addresses !== "127.0.0.1,127.0.0.2,127.0.0.3") return yield* Effect.fail(addresses)
        }))
        const log = yield* server.stderr
        assert.doesNotMatch(log, /\[ALERT\]/)
        assert.doesNotMatch(yield* render.stderr, /^error/m)
      })
  )
})
