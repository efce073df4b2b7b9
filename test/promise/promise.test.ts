// Uses `./promise` without Effect in the bodies of the tests.
import assert from "node:assert/strict"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Schema } from "effect"
import { Service } from "../../mod.ts"
import { ClientError, connect, type Instances } from "../../src/promise/mod.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { runProgram } from "../harness/program.ts"
import { describe, live } from "../harness/it.ts"
import { Effect } from "effect"

/** A test whose body is a plain async function. */
const plain = (title: string, body: () => Promise<void>) => live(title, () => Effect.promise(body))

/** Waits until a condition holds, woken by `changed`. */
const watchList = <A>() => {
  const seen: Array<A> = []
  let wake = () => {}
  return {
    seen,
    add: (value: A) => {
      seen.push(value)
      wake()
    },
    until: async (condition: (seen: ReadonlyArray<A>) => boolean) => {
      while (!condition(seen)) await new Promise<void>((resolve) => wake = resolve)
    }
  }
}

const rejection = async (promise: Promise<unknown>): Promise<ClientError> => {
  try {
    await promise
  } catch (error) {
    assert.ok(error instanceof ClientError, String(error))
    return error
  }
  assert.fail("it resolved")
}

const endpoints = ["http://10.0.0.5:8080"]

describe("connect", () => {
  plain("register, instances and release work on plain values", async () => {
    const client = await connect({ memory: true })
    const registration = await client.register("orders", { id: "a", endpoints, zone: "eu", ttl: "10 seconds" })
    assert.equal(registration.key, "/services/orders/a")
    assert.equal(registration.status, "registered")
    const set = await client.instances("orders")
    assert.deepEqual(set.instances, [
      { id: "a", name: "orders", metadata: {}, endpoints, weight: 1, zone: "eu", status: "up" }
    ])
    assert.deepEqual([set.isStale, set.endpoints, set.rejected, set.get("b")], [false, endpoints, [], undefined])
    assert.deepEqual(await client.services(), [{ name: "orders", instances: 1 }])
    await registration.release()
    await registration.release()
    assert.equal(registration.status, "released")
    assert.deepEqual((await client.instances("orders")).instances, [])
    await client.close()
  })

  plain("release returns when the key is gone, even if the release or close has already begun (R5)", async () => {
    const client = await connect({ memory: true })
    const options = { endpoints, drain: 20 } as const
    const one = await client.register("orders", options)
    const first = one.release()
    await one.release()
    assert.equal(one.status, "released")
    await first
    const other = await client.register("orders", options)
    const closing = client.close()
    await other.release()
    assert.equal(other.status, "released")
    await closing
    await other.release()
  })

  plain("monitoring is a web handler with metrics, targets and probes", async () => {
    const client = await connect({ memory: true })
    const registration = await client.register("orders", { id: "a", endpoints })
    const answers: Array<() => boolean | Promise<boolean>> = [
      () => Promise.resolve(false),
      () => {
        throw new Error("a mistake of the user")
      },
      () => registration.status === "registered"
    ]
    const handler = await client.monitoring({ ready: () => answers.shift()?.() ?? false, prefix: "/internal" })
    const get = (path: string) => handler(new Request(`http://localhost/internal${path}`))
    assert.equal((await get("/livez")).status, 200)
    assert.deepEqual([(await get("/readyz")).status, (await get("/readyz")).status], [503, 503])
    assert.equal((await get("/readyz")).status, 200)
    const [group] = await (await get("/sd/prometheus")).json() as ReadonlyArray<{ readonly targets: unknown }>
    assert.deepEqual(group?.targets, ["10.0.0.5:8080"])
    assert.match(await (await get("/metrics")).text(), /^etcd_discovery_instances\{service="orders",status="up"\} 1$/m)
    assert.equal((await rejection(client.monitoring({ prefix: "internal" }))).code, "INVALID_OPTION")
    await client.close()
    assert.equal((await rejection(client.monitoring())).code, "CLOSED")
  })

  plain("subscribe and onStatus survive a listener that is async and rejects", async () => {
    const client = await connect({ memory: true })
    const rejects = () => Promise.reject(new Error("a mistake in the listener"))
    const sets = watchList<number>()
    const stop = client.subscribe("orders", (set) => {
      sets.add(set.instances.length)
      return rejects()
    })
    await sets.until((seen) => seen.includes(0))
    const registration = await client.register("orders", { id: "a", endpoints })
    const statuses = watchList<string>()
    registration.onStatus((status) => {
      statuses.add(status)
      return rejects()
    })
    await sets.until((seen) => seen.includes(1))
    await registration.drain()
    await registration.release()
    await sets.until((seen) => seen.at(-1) === 0)
    await statuses.until((seen) => seen.includes("draining"))
    stop()
    await client.close()
  })

  plain(
    "subscribe calls its listener with each set until it is ended, and survives a listener that throws",
    async () => {
      const client = await connect({ memory: true })
      const sizes = watchList<number>()
      const stop = client.subscribe("orders", (set) => {
        sizes.add(set.instances.length)
        if (set.instances.length === 1) throw new Error("a mistake of the user")
      })
      await sizes.until((seen) => seen.includes(0))
      const one = await client.register("orders", { endpoints })
      await sizes.until((seen) => seen.includes(1))
      await client.register("orders", { endpoints: ["http://10.0.0.6:8080"] })
      await sizes.until((seen) => seen.includes(2))
      stop()
      await one.release()
      assert.deepEqual(sizes.seen, [0, 1, 2])
      await client.close()
    }
  )

  plain("watch ends with the loop, and with the client", async () => {
    const client = await connect({ memory: true })
    for await (const set of client.watch("orders")) {
      assert.deepEqual(set.endpoints, [])
      break
    }
    const sets: Array<Instances> = []
    const loop = (async () => {
      for await (const set of client.watch("orders")) {
        sets.push(set)
        void client.close()
      }
    })()
    await loop
    assert.equal(sets.length, 1)
  })

  plain("typed metadata is checked in both directions", async () => {
    const Workers = Service.make("workers", { metadata: Schema.Struct({ shard: Schema.Int }) })
    const client = await connect({ memory: true })
    await client.register(Workers, { endpoints, metadata: { shard: 7 } })
    const [worker] = (await client.instances(Workers)).instances
    assert.equal(worker?.metadata.shard, 7)
    const error = await rejection(client.register(Workers, { endpoints, metadata: { shard: 0.5 } }))
    assert.equal(error.code, "INVALID_OPTION")
    await client.close()
  })

  plain("a health check that rejects takes the instance out of available", async () => {
    const client = await connect({ memory: true })
    let isHealthy = true
    const statuses = watchList<string>()
    client.subscribe("orders", (set) => statuses.add(set.instances.map(({ status }) => status).join()))
    await client.register("orders", {
      endpoints,
      healthEvery: 20,
      healthThreshold: 1,
      health: () => isHealthy ? Promise.resolve() : Promise.reject(new Error("not well"))
    })
    await statuses.until((seen) => seen.at(-1) === "up")
    isHealthy = false
    await statuses.until((seen) => seen.at(-1) === "down")
    assert.deepEqual((await client.instances("orders")).available, [])
    await client.close()
  })

  plain("errors have codes: an invalid option, a taken id, a closed client, an etcd that is not there", async () => {
    assert.equal((await rejection(connect({}))).code, "INVALID_OPTION")
    assert.equal((await rejection(connect({ endpoints: [] }))).code, "INVALID_OPTION")
    const wrong = await connect({ memory: true })
    for (
      const call of [
        () => wrong.register("orders", undefined as never),
        () => wrong.register("orders", { endpoints, health: "curl" as never }),
        () => wrong.monitoring(null as never),
        () => wrong.monitoring({ ready: true as never })
      ]
    ) assert.equal((await rejection(call())).code, "INVALID_OPTION")
    await wrong.close()
    const client = await connect({ memory: true })
    await client.register("orders", { id: "a", endpoints })
    const taken = await rejection(client.register("orders", { id: "a", endpoints, claim: "exclusive" }))
    assert.equal(taken.code, "INSTANCE_ID_TAKEN")
    assert.match(taken.message, /^cannot register "\/services\/orders\/a": /)
    await client.close()
    await client.close()
    assert.equal((await rejection(client.instances("orders"))).code, "CLOSED")
    assert.throws(
      () => client.subscribe("orders", () => {}),
      (error: unknown) => error instanceof ClientError && error.code === "CLOSED"
    )
    const away = await connect({ endpoints: ["http://127.0.0.1:1"] })
    assert.equal((await rejection(away.instances("orders"))).code, "DISCOVERY_REFUSED")
    const late = await rejection(away.register("orders", { endpoints, startupTimeout: 100 }))
    assert.equal(late.code, "STARTUP_TIMEOUT")
    await away.close()
  })

  plain("register rejects with CLOSED when the client closes before etcd has the key", async () => {
    const client = await connect({ endpoints: ["http://127.0.0.1:1"] })
    const registered = rejection(client.register("orders", { endpoints }))
    await client.close()
    assert.equal((await registered).code, "CLOSED")
  })

  plain("fetch calls an instance by the name of its service", async () => {
    const server = createServer((request, response) => response.end(`answered ${request.url}`))
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as AddressInfo
    const client = await connect({ memory: true })
    await client.register("orders", { endpoints: [`http://127.0.0.1:${port}`] })
    const response = await client.fetch("http://orders/7?full=yes")
    assert.equal(await response.text(), "answered /7?full=yes")
    await client.close()
    await new Promise((resolve) => server.close(resolve))
  })

  plain("fetch may be called while the client closes, and rejects with CLOSED afterwards", async () => {
    const received = watchList<string>()
    const server = createServer((request) => received.add(request.url ?? ""))
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const client = await connect({ memory: true })
    const failure = (path: string) => client.fetch(`${url}${path}`).then(() => undefined, (error: unknown) => error)
    const before = failure("/before")
    await received.until((seen) => seen.includes("/before"))

    const closing = client.close()
    const during = failure("/during")
    await closing
    for (const error of [await before, await during]) {
      assert.ok(error instanceof TypeError)
      assert.equal(error.message, "fetch failed: the request was interrupted")
    }
    assert.equal((await rejection(client.fetch(url))).code, "CLOSED")
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
})

describe("connect on etcd", () => {
  eachSharedEtcd((server) => {
    live(
      "handleSignals releases the key and exits with 0 after SIGTERM, with 130 after SIGINT",
      () =>
        Effect.gen(function* () {
          for (const [signal, code] of [["SIGTERM", 0], ["SIGINT", 130]] as const) {
            const program = yield* runProgram({
              file: new URL("programs/registered.ts", import.meta.url),
              args: [server().endpoint, signal]
            })
            yield* program.awaitLine("registered")
            const client = yield* Effect.promise(() => connect({ endpoints: [server().endpoint] }))
            assert.deepEqual((yield* Effect.promise(() => client.instances(signal))).endpoints, endpoints)
            yield* program.signal(signal)
            assert.deepEqual(yield* program.exit, { code, signal: null })
            assert.deepEqual((yield* Effect.promise(() => client.instances(signal))).endpoints, [])
            yield* Effect.promise(client.close)
          }
        })
    )

    live("a process whose client is closed ends by itself", () =>
      Effect.gen(function* () {
        const program = yield* runProgram({
          file: new URL("programs/registered.ts", import.meta.url),
          args: [server().endpoint, "short", "close"]
        })
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
        // stdout belongs to the program. Log lines go to stderr.
        assert.equal((yield* program.stdout).trim(), "registered")
        assert.match(yield* program.stderr, /released "\/services\/short\//)
      }))
  })
})
