import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { type ClientRequest, get as httpGet } from "node:http"
import { connect } from "node:net"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdGrpc } from "../../src/etcd/mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { attempt, eventually, pause } from "../harness/real.ts"

const skip = process.platform === "linux" ? false : "memory and CPU are read from /proc"

/** What a process uses: resident MiB, and seconds of CPU so far. */
const usageOf = (pid: number) => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ")
  return {
    mib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024,
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100
  }
}

/** An open page: a stream of events that is read, and what it received. */
const openPage = (url: string, page: string): Effect.Effect<{ readonly bytes: () => number }, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const version = yield* attempt(async () =>
      /data-version="(\w+)"/.exec(await (await fetch(url + page.slice(1))).text())?.[1] ?? ""
    )
    let bytes = 0
    yield* Effect.acquireRelease(
      Effect.callback<ClientRequest, Error>((resume) => {
        const request = httpGet(
          `${url}events?page=${encodeURIComponent(page)}&from=${version}`,
          { agent: false },
          (response) => {
            response.on("data", (chunk: Uint8Array) => bytes += chunk.length)
            response.on("error", () => {})
            resume(Effect.succeed(request))
          }
        )
        request.on("error", (error) => resume(Effect.fail(error)))
      }),
      (request) => Effect.sync(() => request.destroy())
    )
    return { bytes: () => bytes }
  })

/** A browser that requests events and does not read them. */
const stalledPage = (port: number, page: string) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof connect>, Error>((resume) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.pause()
        socket.write(`GET /events?page=${encodeURIComponent(page)} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
        resume(Effect.succeed(socket))
      })
      socket.on("error", (error) => resume(Effect.fail(error)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

describe("console under load", () => {
  live(
    "200 open console pages share one etcd watch, and stalled browsers do not make memory grow",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const program = yield* runProgram({
          file: fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url)),
          args: ["console", "--port", "0", "--json", "--endpoints", server.endpoint]
        })
        const { url } = JSON.parse(yield* program.awaitLine("http://"))
        const port = Number(new URL(url).port)
        yield* Effect.gen(function* () {
          const etcd = yield* Etcd
          const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
          const put = (service: number, instance: number, weight: number) =>
            etcd.put({
              key: `/services/service-${service}/i${instance}`,
              value: JSON.stringify({ endpoints: [`http://10.0.${service}.${instance}:80`], weight }),
              lease
            })
          for (let service = 0; service < 20; service++) {
            for (let instance = 0; instance < 20; instance++) yield* put(service, instance, 1)
          }
          const watchers = server.metric("etcd_debugging_mvcc_watcher_total")
          yield* eventually(
            Effect.flatMap(watchers, (count) => count === 1 ? Effect.void : Effect.fail(new Error(`${count} watchers`)))
          )
          const pages = yield* Effect.forEach(
            Array.from({ length: 200 }, (_, index) =>
              index % 4 === 0 ? "/" : index % 4 === 1 ? "/services" : `/services/service-${index % 20}`),
            (page) =>
              openPage(url, page),
            { concurrency: 10 }
          )
          /** Changes an instance 20 times a second. */
          const churn = Effect.fnUntraced(function* (seconds: number, from: number) {
            for (let step = 0; step < seconds * 20; step++) {
              yield* put(step % 20, step % 7, from + step)
              yield* pause(50)
            }
          })
          yield* churn(5, 2)
          const before = usageOf(program.pid)
          const startedAt = performance.now()
          yield* churn(10, 1000)
          const after = usageOf(program.pid)
          const seconds = (performance.now() - startedAt) / 1000
          const share = 100 * (after.cpuSeconds - before.cpuSeconds) / seconds
          console.log(
            `200 open pages, 20 changes a second: ${share.toFixed(0)} % of a core, ${after.mib.toFixed(0)} MiB resident`
          )
          assert.equal(yield* watchers, 1)
          const silent = pages.filter(({ bytes }) => bytes() === 0).length
          assert.equal(silent, 0, `${silent} pages received nothing`)

          yield* Effect.forEach(Array.from({ length: 50 }), () => stalledPage(port, "/timeline"))
          yield* churn(5, 2000)
          const filled = usageOf(program.pid)
          yield* churn(20, 3000)
          const grown = usageOf(program.pid).mib - filled.mib
          console.log(`50 stalled browsers: ${grown.toFixed(1)} MiB more after 400 changes`)
          // That nothing is queued for them is checked in console.test.ts: buffers of sockets hold this much.
          assert.ok(grown < 80, `${grown} MiB`)
          yield* pause(1000)
          const idle = usageOf(program.pid)
          yield* pause(5000)
          const idleShare = 100 * (usageOf(program.pid).cpuSeconds - idle.cpuSeconds) / 5
          console.log(`200 open pages without changes: ${idleShare.toFixed(1)} % of a core`)
        }).pipe(Effect.provide(EtcdGrpc.layer({ endpoints: [server.endpoint] })))
      }),
    { skip }
  )
})
