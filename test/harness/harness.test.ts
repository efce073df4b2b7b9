import { Effect } from "effect"
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import net from "node:net"
import process from "node:process"
import { eachEtcd, eachSharedEtcd, etcdctl, type EtcdServer, startCluster, startEtcd } from "./EtcdServer.ts"
import { describe, effect, live } from "./it.ts"
import { runProgram } from "./program.ts"
import { makeProxy } from "./Proxy.ts"
import { eventually, pause } from "./real.ts"
import { runtimeNames } from "../../tools/runtimes.ts"

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe("EtcdServer", () => {
  eachEtcd((version) => {
    live("keeps its data over SIGKILL and start, and loses it when wiped", () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd({ version })
        assert.equal(etcd.version, version)
        assert.ok(Number(new URL(etcd.endpoint).port) < 32768)
        yield* etcdctl(etcd, "put", "a", "1")
        const first = etcd.pid
        yield* etcd.kill("SIGKILL")
        assert.ok(!isAlive(first))
        yield* etcd.start
        assert.notEqual(etcd.pid, first)
        assert.equal(yield* etcdctl(etcd, "get", "a", "--print-value-only"), "1\n")
        yield* etcd.stop
        yield* etcd.wipe
        assert.ok(!existsSync(etcd.dataDir))
        yield* etcd.start
        assert.equal(yield* etcdctl(etcd, "get", "a", "--print-value-only"), "")
      }))

    live("hangs while paused and answers again when resumed", () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd({ version })
        yield* etcd.pause
        const late = yield* Effect.flip(etcdctl(etcd, "--command-timeout=300ms", "get", "a"))
        assert.match(late.message, /deadline exceeded|context/)
        yield* etcd.resume
        yield* etcdctl(etcd, "put", "a", "1")
        assert.ok(
          (yield* etcd.metric("etcd_mvcc_put_total")) >= 1 || (yield* etcd.metric("etcd_debugging_mvcc_put_total")) >= 1
        )
        assert.match(yield* etcd.metrics, /grpc_server_handled_total/)
      }))
  })

  live("is gone, with its folder, once the scope is closed", () =>
    Effect.gen(function* () {
      let last: EtcdServer | undefined
      yield* Effect.scoped(Effect.tap(startEtcd(), (etcd) =>
        Effect.sync(() => {
          last = etcd
        })))
      assert.ok(last !== undefined)
      assert.ok(!isAlive(last.pid) && !existsSync(last.dataDir))
    }))

  effect("starts inside a test on virtual time", () => Effect.asVoid(startEtcd()))

  live("reports what etcd said when it cannot start", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(startEtcd({ args: ["--no-such-flag"] }))
      assert.match(error.message, /no-such-flag/)
    }))

  live("runs a cluster that elects another leader when its leader is killed", () =>
    Effect.gen(function* () {
      const cluster = yield* startCluster(3)
      const leader = yield* cluster.leader
      yield* leader.kill("SIGKILL")
      const next = yield* cluster.leader
      assert.notEqual(next.endpoint, leader.endpoint)
      yield* etcdctl(next, "put", "a", "1")
      yield* leader.start
      assert.equal(yield* etcdctl(leader, "get", "a", "--print-value-only"), "1\n")
    }))

  eachSharedEtcd((etcd) => {
    live("is shared by the tests of a file: written here", () => Effect.asVoid(etcdctl(etcd(), "put", "a", "1")))
    live("is shared by the tests of a file: read here", () =>
      Effect.gen(function* () {
        assert.equal(yield* etcdctl(etcd(), "get", "a", "--print-value-only"), "1\n")
      }))
  })
})

/** A server that answers each chunk with the same in capitals. */
const shouting = Effect.acquireRelease(
  Effect.callback<{ readonly endpoint: string; readonly close: () => void }>((resume) => {
    const sockets = new Set<net.Socket>()
    const server = net.createServer((socket) => {
      sockets.add(socket)
      socket.on("data", (chunk) => socket.write(String(chunk).toUpperCase()))
      socket.on("error", () => {})
    })
    const close = () => {
      server.close()
      sockets.forEach((socket) => socket.destroy())
    }
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resume(Effect.succeed({ endpoint: `http://127.0.0.1:${port}`, close }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

const connect = (endpoint: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly socket: net.Socket; heard: string; ended: boolean }, Error>((resume) => {
      const socket = net.connect({ host: "127.0.0.1", port: Number(new URL(endpoint).port) })
      const client = { socket, heard: "", ended: false }
      socket.on("data", (chunk) => {
        client.heard += String(chunk)
      })
      socket.on("connect", () => resume(Effect.succeed(client)))
      socket.on("error", (error) => resume(Effect.fail(error)))
      socket.on("close", () => {
        client.ended = true
      })
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const become = (probe: () => boolean) =>
  eventually(Effect.suspend(() => probe() ? Effect.void : Effect.fail("no")), { limit: 3000 })

describe("Proxy", () => {
  live("forwards, and resets every open connection", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      client.socket.write("hello")
      yield* become(() => client.heard === "HELLO")
      assert.equal(yield* proxy.connections, 1)
      yield* proxy.reset
      yield* become(() => client.ended)
      assert.equal(yield* proxy.connections, 0)
      yield* connect(proxy.endpoint)
      assert.equal(yield* proxy.accepted, 2)
    }))

  live(
    "refuses new connections and keeps the open ones, then accepts again on the same port",
    () =>
      Effect.gen(function* () {
        const proxy = yield* makeProxy(yield* shouting)
        const client = yield* connect(proxy.endpoint)
        yield* proxy.refuse
        yield* Effect.flip(connect(proxy.endpoint))
        client.socket.write("a")
        yield* become(() => client.heard === "A")
        yield* proxy.accept
        yield* connect(proxy.endpoint)
      })
  )

  for (const direction of ["up", "down", "both"] as const) {
    live(
      `lets nothing through a black hole (${direction}), and delivers what it held when it heals`,
      () =>
        Effect.gen(function* () {
          const proxy = yield* makeProxy(yield* shouting)
          const client = yield* connect(proxy.endpoint)
          client.socket.write("a")
          yield* become(() => client.heard === "A")
          yield* proxy.blackhole(direction)
          client.socket.write("b")
          yield* pause(100)
          assert.equal(client.heard, "A")
          yield* proxy.heal
          yield* become(() => client.heard === "AB")
        })
    )
  }

  live("hides the end of the server behind a black hole", () =>
    Effect.gen(function* () {
      const server = yield* shouting
      const proxy = yield* makeProxy(server)
      const client = yield* connect(proxy.endpoint)
      client.socket.write("a")
      yield* become(() => client.heard === "A")
      yield* proxy.blackhole()
      server.close()
      yield* pause(100)
      assert.ok(!client.ended)
      yield* proxy.heal
      yield* become(() => client.ended)
    }))

  live("passes the end of a server on, and resets a client whose server is not there", () =>
    Effect.gen(function* () {
      const server = yield* shouting
      const proxy = yield* makeProxy(server)
      const client = yield* connect(proxy.endpoint)
      client.socket.write("a")
      yield* become(() => client.heard === "A")
      server.close()
      yield* become(() => client.ended)
      const late = yield* connect(proxy.endpoint)
      yield* become(() => late.ended)
      yield* eventually(Effect.filterOrFail(proxy.connections, (open) => open === 0, (open) => `${open} open`))
    }))

  live("resets after a number of bytes", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.resetAfterBytes(3, "up")
      client.socket.write("ab")
      yield* become(() => client.heard === "AB")
      client.socket.write("cd")
      yield* become(() => client.ended)
    }))

  live("stands between etcdctl and etcd", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const proxy = yield* makeProxy(etcd)
      const through = { endpoint: proxy.endpoint, version: etcd.version }
      yield* etcdctl(through, "put", "a", "1")
      assert.equal(yield* etcdctl(etcd, "get", "a", "--print-value-only"), "1\n")
      yield* proxy.refuse
      yield* Effect.flip(etcdctl(through, "--command-timeout=500ms", "--dial-timeout=300ms", "get", "a"))
    }))
})

describe("program", () => {
  const file = new URL("./fixture.ts", import.meta.url)
  for (const runtime of runtimeNames) {
    live(
      `runs on ${runtime} with arguments and environment, and shows its lines and its exit code`,
      () =>
        Effect.gen(function* () {
          const program = yield* runProgram({ file, runtime, args: ["x", "y"], env: { WORD: "hello" } })
          assert.equal(yield* program.awaitLine(/says/), `${runtime} says hello x y`)
          yield* program.awaitLine("ready")
          yield* program.signal("SIGTERM")
          assert.deepEqual(yield* program.exit, { code: 7, signal: null })
          assert.equal(yield* program.stdout, `${runtime} says hello x y\nterminated\n`)
          const missing = yield* Effect.flip(program.awaitLine((line) => line === "never"))
          assert.match(missing.message, /ended/)
        })
    )

    live(`ends ${runtime} by SIGKILL, and by itself when its input ends`, () =>
      Effect.gen(function* () {
        const killed = yield* runProgram({ file, runtime })
        yield* killed.awaitLine("ready")
        yield* killed.signal("SIGKILL")
        assert.equal((yield* killed.exit).signal, "SIGKILL")
        const quiet = yield* runProgram({ file, runtime })
        yield* quiet.awaitLine("ready")
        yield* quiet.endInput
        assert.deepEqual(yield* quiet.exit, { code: 0, signal: null })
      }))
  }

  live("kills what still runs when the scope closes", () =>
    Effect.gen(function* () {
      const pid = yield* Effect.scoped(Effect.gen(function* () {
        const program = yield* runProgram({ file })
        yield* program.awaitLine("ready")
        return program.pid
      }))
      assert.ok(!isAlive(pid))
    }))
})
