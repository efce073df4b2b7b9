// Health checks that are data.
import { Duration, Effect, Exit, Layer, Result, Stream } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { discover, Registry } from "../../../mod.ts"
import * as Probe from "../../../src/declared/health/Probe.ts"
import { Declared } from "../../../src/declared/mod.ts"
import { describe, live } from "../../harness/it.ts"
import { attempt, eventually } from "../../harness/real.ts"

/** A server for the lifetime of the scope; its port. */
const serve = Effect.fnUntraced(function* (onRequest: RequestListener) {
  const server = createServer(onRequest)
  yield* Effect.acquireRelease(
    attempt(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
})

const probe = (read: Result.Result<Probe.Probe, string>, timeout: Duration.Input = "10 seconds") =>
  Effect.flatMap(Effect.fromResult(read), (probe) => Probe.check(probe, Duration.fromInputUnsafe(timeout)))

const detail = (read: Result.Result<Probe.Probe, string>, timeout?: Duration.Input) =>
  Effect.map(Effect.flip(probe(read, timeout)), (error) => error instanceof Probe.ProbeFailed ? error.detail : error)

describe("Probe", () => {
  live(
    "Probe.check of a URL succeeds for a status from 200 to 399 and follows no redirect",
    () =>
      Effect.gen(function* () {
        const paths: Array<string> = []
        const port = yield* serve(({ url = "" }, response) => {
          paths.push(url)
          response.writeHead(Number(url.slice(1)), { location: "/500" }).end()
        })
        const url = (status: number) => Probe.fromUrl(`http://127.0.0.1:${port}/${status}`)
        yield* probe(url(200))
        yield* probe(url(302))
        assert.equal(yield* detail(url(404)), "status 404")
        assert.equal(yield* detail(url(503)), "status 503")
        assert.deepEqual(paths, ["/200", "/302", "/404", "/503"])
      })
  )

  live(
    "Probe.check of a URL fails after the timeout if the server accepts the connection and sends nothing",
    () =>
      Effect.gen(function* () {
        const port = yield* serve(() => {})
        assert.equal(
          yield* detail(Probe.fromUrl(`http://127.0.0.1:${port}/`), "200 millis"),
          "no result within 200 ms"
        )
      })
  )

  live("Probe.check of an address succeeds while something listens there", () =>
    Effect.gen(function* () {
      let address = Probe.fromAddress("")
      yield* Effect.scoped(Effect.gen(function* () {
        address = Probe.fromAddress(`127.0.0.1:${yield* serve(() => {})}`)
        yield* probe(address)
      }))
      assert.match(String(yield* detail(address)), /ECONNREFUSED|refused/i)
    }))

  live(
    "Probe.check of a command succeeds for exit code 0 and reports the code and the output otherwise",
    () =>
      Effect.gen(function* () {
        yield* probe(Probe.fromCommand("true"))
        assert.equal(yield* detail(Probe.fromCommand("echo one; echo two >&2; exit 3")), "exit code 3: one; two")
      })
  )

  live(
    "Probe.check of a command kills everything the command has started after the timeout",
    () =>
      Effect.gen(function* () {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "probe-"))),
          (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
        )
        const file = join(folder, "pid")
        const command = Probe.fromCommand(`sleep 1000 & echo $! > '${file}'; wait`)
        assert.equal(yield* detail(command, "4 seconds"), "no result within 4 s")
        const pid = Number(readFileSync(file, "utf8"))
        assert.ok(pid > 0)
        yield* eventually(Effect.suspend(() => {
          try {
            // A killed process is a zombie until its new parent has read its exit.
            const isZombie = readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")
            if (!isZombie) process.kill(pid, 0)
            return isZombie ? Effect.void : Effect.fail("the sleep still runs")
          } catch {
            return Effect.void
          }
        }))
      })
  )

  live("Probe refuses an invalid URL, address or command", () =>
    Effect.sync(() => {
      for (
        const read of [
          Probe.fromUrl("ftp://a/"),
          Probe.fromUrl("127.0.0.1:80"),
          Probe.fromUrl("http://user:secret@a/"),
          Probe.fromAddress("127.0.0.1"),
          Probe.fromAddress("127.0.0.1:0"),
          Probe.fromAddress("a:65536"),
          Probe.fromAddress("http://a:1"),
          Probe.fromCommand(" ")
        ]
      ) assert.ok(Result.isFailure(read))
      assert.deepEqual(Probe.fromAddress("[::1]:80"), Result.succeed({ _tag: "Tcp", host: "::1", port: 80 }))
    }))
})

describe("health of a declaration", () => {
  const declared = (health: string) => ({
    text: `services: [{ name: orders, id: a, endpoints: ["http://10.0.0.5:80"], ${health} }]`,
    format: "yaml" as const
  })

  live(
    "Declared.register runs the health check of the file: starting, up, down, up (R11)",
    () =>
      Effect.gen(function* () {
        let status = 503
        const port = yield* serve((_, response) => {
          response.writeHead(status).end()
        })
        yield* Declared.register(
          declared(`health: { http: "http://127.0.0.1:${port}/", interval: 50 millis, threshold: 2 }`)
        )
        const seen: Array<string> = []
        yield* discover("orders").pipe(
          Stream.takeUntil((set) => {
            seen.push(set.instances.map(({ status }) => status).join())
            status = seen.length === 2 ? 500 : 200
            return seen.length === 4
          }),
          Stream.runDrain
        )
        assert.deepEqual(seen, ["starting", "up", "down", "up"])
      }).pipe(Effect.provide(Registry.layerMemory()))
  )

  live(
    "an invalid health check of a declaration is refused before anything is registered",
    () =>
      Effect.gen(function* () {
        const rules = (health: string) =>
          Effect.map(
            Effect.exit(Effect.scoped(Layer.build(Declared.layer(declared(health))))),
            (exit) => {
              const error = Exit.findErrorOption(exit)
              assert.ok(error._tag === "Some" && error.value._tag === "InvalidDeclaration")
              return error.value.problems.map(({ path, rule }) => `${path}: ${rule}`).filter((text) =>
                !/^etcd:/.test(text)
              )
            }
          )
        assert.deepEqual(yield* rules("health: { interval: 1 second }"), [
          "services[0].health: it must have one of http, tcp and cmd"
        ])
        assert.deepEqual(yield* rules("health: { tcp: 'a:1', cmd: 'true' }"), [
          "services[0].health: it must have one of http, tcp and cmd"
        ])
        assert.deepEqual(yield* rules("healthEvery: 1 second, health: { tcp: a, timeout: 6 seconds }"), [
          "services[0].healthEvery: beside health it is health.interval",
          "services[0].health.tcp: it must be host:port, such as 127.0.0.1:8080, with a port of 1 to 65535",
          "services[0].health.timeout: it must be at most interval (5 seconds by default)"
        ])
      })
  )
})
