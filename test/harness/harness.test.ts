import { Effect } from "effect"
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import net from "node:net"
import { dirname, join } from "node:path"
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
    live("EtcdServer keeps its data over SIGKILL and start, and loses it when wiped", () =>
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

    live("EtcdServer hangs while paused and answers again when resumed", () =>
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

  live("EtcdServer is gone, with its folder, once the scope is closed", () =>
    Effect.gen(function* () {
      let last: EtcdServer | undefined
      yield* Effect.scoped(Effect.tap(startEtcd(), (etcd) =>
        Effect.sync(() => {
          last = etcd
        })))
      assert.ok(last !== undefined)
      assert.ok(!isAlive(last.pid) && !existsSync(last.dataDir))
    }))

  effect("EtcdServer starts inside a test on virtual time", () => Effect.asVoid(startEtcd()))

  live("EtcdServer reports what etcd said when it cannot start", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(startEtcd({ args: ["--no-such-flag"] }))
      assert.match(error.message, /no-such-flag/)
    }))

  live("EtcdServer runs a cluster that elects another leader when its leader is killed", () =>
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

  live(
    "EtcdServer cuts a member off from the others, which go on without it, and puts them together again",
    () =>
      Effect.gen(function* () {
        const cluster = yield* startCluster(3, { partitions: true })
        const leader = yield* cluster.leader
        yield* cluster.cut(leader)
        yield* eventually(Effect.flip(etcdctl(leader, "--command-timeout=500ms", "get", "a")))
        const [other] = cluster.members.filter((member) => member !== leader)
        assert.ok(other)
        yield* eventually(etcdctl(other, "put", "a", "1"))
        yield* cluster.mend
        yield* eventually(
          Effect.filterOrFail(
            Effect.orElseSucceed(
              etcdctl(leader, "--command-timeout=500ms", "get", "a", "--print-value-only"),
              () => ""
            ),
            (text) => text === "1\n",
            (text) => `it reads ${text}`
          )
        )
      })
  )

  live("EtcdServer adds a member to a cluster, and removes one", () =>
    Effect.gen(function* () {
      const cluster = yield* startCluster(3)
      const [old] = cluster.members
      assert.ok(old)
      yield* etcdctl(old, "put", "a", "1")
      const fresh = yield* cluster.add
      assert.equal(cluster.members.length, 4)
      assert.equal(yield* etcdctl(fresh, "get", "a", "--print-value-only"), "1\n")
      yield* cluster.remove(old)
      assert.deepEqual([old.running, cluster.members.length, cluster.members.includes(old)], [false, 3, false])
      // The one that was removed may have led: the others elect first.
      yield* eventually(etcdctl(fresh, "put", "a", "2"))
    }))

  live("EtcdServer goes back to a snapshot", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      yield* etcdctl(etcd, "put", "a", "1")
      const file = join(dirname(etcd.dataDir), "snapshot")
      yield* etcd.snapshot(file)
      yield* etcdctl(etcd, "put", "a", "2")
      yield* etcd.stop
      yield* etcd.wipe
      yield* etcd.restore(file)
      yield* etcd.start
      assert.equal(yield* etcdctl(etcd, "get", "a", "--print-value-only"), "1\n")
    }))

  eachSharedEtcd((etcd) => {
    live(
      "EtcdServer is shared by the tests of a file: written here",
      () => Effect.asVoid(etcdctl(etcd(), "put", "a", "1"))
    )
    live("EtcdServer is shared by the tests of a file: read here", () =>
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

const become = (probe: () => boolean) => eventually(Effect.suspend(() => probe() ? Effect.void : Effect.fail("no")))

describe("Proxy", () => {
  live("Proxy forwards, and resets every open connection", () =>
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
    "Proxy refuses new connections and keeps the open ones, then accepts again on the same port",
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
      `Proxy lets nothing through a black hole (${direction}), and delivers what it held when it heals`,
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

  live("Proxy hides the end of the server behind a black hole", () =>
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

  live(
    "Proxy passes the end of a server on, and resets a client whose server is not there",
    () =>
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
      })
  )

  live("Proxy resets after a number of bytes", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.resetAfterBytes(3, "up")
      client.socket.write("ab")
      yield* become(() => client.heard === "AB")
      client.socket.write("cd")
      yield* become(() => client.ended)
    }))

  live("Proxy closes after a number of bytes", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.closeAfterBytes(3, "down")
      client.socket.write("ab")
      yield* become(() => client.heard === "AB")
      client.socket.write("cd")
      yield* become(() => client.ended)
      assert.equal(client.heard, "ABCD")
    }))

  live("Proxy lets everything through late, in its order, and at once when it heals", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.poison({ latency: 60, jitter: 50 })
      const start = performance.now()
      for (const letter of "abcdefgh") {
        client.socket.write(letter)
        yield* pause(2)
      }
      yield* become(() => client.heard.length === 8)
      assert.equal(client.heard, "ABCDEFGH")
      assert.ok(performance.now() - start >= 20, "never earlier than both latencies allow")
      yield* proxy.poison({ latency: 60_000 })
      client.socket.write("i")
      yield* pause(50)
      assert.equal(client.heard, "ABCDEFGH")
      yield* proxy.heal
      yield* become(() => client.heard === "ABCDEFGHI")
    }))

  live("Proxy lets through no more than its bandwidth", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.poison({ bandwidth: 1000 }, "up")
      const start = performance.now()
      client.socket.write("a".repeat(300))
      yield* become(() => client.heard.length === 300)
      assert.ok(performance.now() - start >= 295)
    }))

  live("Proxy passes bytes on one by one", () =>
    Effect.gen(function* () {
      const chunks: Array<number> = []
      const proxy = yield* makeProxy(yield* shouting)
      const client = yield* connect(proxy.endpoint)
      yield* proxy.poison({ slice: true }, "down")
      client.socket.on("data", (chunk) => chunks.push(chunk.length))
      client.socket.write("x".repeat(500))
      yield* become(() => client.heard.length === 500)
      assert.ok(chunks.length > 5, `${chunks.length} chunks`)
    }))

  live("Proxy holds the end of a connection back", () =>
    Effect.gen(function* () {
      const server = yield* shouting
      const proxy = yield* makeProxy(server)
      const client = yield* connect(proxy.endpoint)
      client.socket.write("a")
      yield* become(() => client.heard === "A")
      yield* proxy.poison({ slowClose: 60_000 })
      server.close()
      yield* pause(100)
      assert.ok(!client.ended)
      yield* proxy.heal
      yield* become(() => client.ended)
    }))

  live("Proxy loses the request that a trap waits for, or its answer", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting)
      const first = yield* connect(proxy.endpoint)
      const lost = yield* proxy.trap(new TextEncoder().encode("key"), "lost")
      first.socket.write("other")
      yield* become(() => first.heard === "OTHER")
      first.socket.write("the key")
      yield* lost.sprung
      yield* become(() => first.ended)
      assert.equal(first.heard, "OTHER")
      const second = yield* connect(proxy.endpoint)
      const unanswered = yield* proxy.trap(new TextEncoder().encode("key"), "unanswered")
      second.socket.write("a key")
      yield* unanswered.sprung
      yield* pause(50)
      assert.equal(second.heard, "")
      yield* proxy.heal
      yield* become(() => second.heard === "A KEY")
    }))

  live("Proxy holds back only the connections of one label", () =>
    Effect.gen(function* () {
      const proxy = yield* makeProxy(yield* shouting, { label: /I am (\w+)/ })
      const [red, green] = [yield* connect(proxy.endpoint), yield* connect(proxy.endpoint)]
      red.socket.write("I am red")
      green.socket.write("I am green")
      yield* become(() => red.heard === "I AM RED" && green.heard === "I AM GREEN")
      yield* proxy.blackholeOf("red")
      red.socket.write("!")
      green.socket.write("!")
      yield* become(() => green.heard === "I AM GREEN!")
      assert.equal(red.heard, "I AM RED")
      yield* proxy.heal
      yield* become(() => red.heard === "I AM RED!")
    }))

  live("Proxy stands between etcdctl and etcd", () =>
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
      `runProgram runs on ${runtime} with arguments and environment, and shows its lines and its exit code`,
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

  live("runProgram kills what still runs when the scope closes", () =>
    Effect.gen(function* () {
      const pid = yield* Effect.scoped(Effect.gen(function* () {
        const program = yield* runProgram({ file })
        yield* program.awaitLine("ready")
        return program.pid
      }))
      assert.ok(!isAlive(pid))
    }))
})
