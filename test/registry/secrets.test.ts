import { Cause, Effect, Exit, Layer, Logger, Metric, Redacted, References, Tracer } from "effect"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { inspect } from "node:util"
import type * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { discover, getInstances, registerService, Registry } from "../../mod.ts"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { recordingTracer } from "../harness/tracer.ts"
import { freePort } from "../harness/real.ts"
import { recorded } from "./registration/support.ts"
import { makeAuthority } from "../etcd/grpc/certificates.ts"

const password = "swordfish-s3cret"

const show = (value: unknown): string => inspect(value, { depth: 12, maxStringLength: null, maxArrayLength: null })

/** Records all output of a program: log lines of every level, spans with attributes, and metrics. */
const listening = () => {
  const lines: Array<string> = []
  const { spans, tracer } = recordingTracer()
  const logger = Logger.make((options) => {
    lines.push(show([options.message, Cause.pretty(options.cause), show(options.cause)]))
  })
  const layer: Layer.Layer<never> = Layer.mergeAll(
    Logger.layer([logger]),
    Layer.succeed(Tracer.Tracer, tracer),
    Layer.succeed(References.MinimumLogLevel, "All")
  )
  const all = Effect.map(Metric.dump, (metrics) => ({
    lines,
    spans: spans.map(({ _events, attributes, name, status }) => show({ name, attributes, _events, status })),
    metrics
  }))
  return { layer, all }
}

/** An error in every textual form. */
const textsOf = (error: unknown): ReadonlyArray<string> => [
  String(error),
  show(error),
  JSON.stringify(error) ?? "",
  Cause.pretty(Cause.fail(error)),
  error instanceof Error ? `${error.message}${error.stack}${show(error.cause)}` : ""
]

describe("secrets", () => {
  live(
    "no log line, error, span or metric contains a password or a private key, whatever fails",
    () =>
      Effect.gen(function* () {
        const authority = yield* makeAuthority
        const certificate = yield* authority.sign("IP:127.0.0.1")
        const key = readFileSync(certificate.key, "utf8")
        const server = yield* startEtcd({ tls: certificate })
        const tlsArgs = [`--cacert=${authority.ca}`]
        for (const command of ["user add root:root", `user add app:${password}`, "user grant-role root root"]) {
          yield* etcdctl(server, ...tlsArgs, ...command.split(" "))
        }
        yield* etcdctl(server, ...tlsArgs, "auth", "enable")

        const { all, layer } = listening()
        const failures: Array<unknown> = []
        const use = (options: Partial<EtcdGrpc.Options>) =>
          Effect.gen(function* () {
            const registry = Registry.layerEtcd({
              endpoints: [server.endpoint],
              username: "app",
              password: Redacted.make(password),
              tls: { ca: authority.ca, cert: readFileSync(certificate.cert, "utf8"), key },
              dialTimeout: "1 second",
              ...options
            })
            const attempts: ReadonlyArray<Effect.Effect<unknown, unknown, Registry.Registry>> = [
              Effect.scoped(
                registerService("orders", { endpoints: ["http://10.0.0.1:80"], startupTimeout: "1 second" })
              ),
              getInstances("orders"),
              Effect.scoped(
                Effect.flatMap(recorded(discover("orders")), ({ ended }) => Effect.timeout(ended, "1 second"))
              )
            ]
            for (const attempt of attempts) {
              const exit = yield* Effect.exit(Effect.provide(Effect.withSpan(attempt, "attempt"), registry))
              failures.push(exit, Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit.value)
            }
          })

        yield* Effect.gen(function* () {
          yield* use({}) // no role: permission denied
          yield* use({ username: "root", password: Redacted.make(`${password}-wrong`) }) // refused
          yield* use({ endpoints: [`https://127.0.0.1:${yield* freePort}`] }) // nobody there
          yield* use({ endpoints: [server.endpoint.replace("https://", `https://app:${password}@`)] }) // refused before I/O
          yield* use({ tls: { ca: authority.ca, cert: key, key } }) // a key where a certificate belongs
          yield* use({ tls: { ca: authority.ca, cert: certificate.cert, key: key.replace("BEGIN", "BEGlN") } }) // no key
          yield* etcdctl(server, ...tlsArgs, "--user=root:root", "user", "delete", "app")
          yield* use({}) // unknown user
        }).pipe(Effect.provide(layer))

        const { lines, metrics, spans } = yield* all
        const everything = [...lines, ...spans, metrics, ...failures.flatMap(textsOf)]
        const secrets = [password, ...key.split("\n").slice(1, -2).map((line) => line.slice(0, 20))]
        for (const secret of secrets) {
          assert.deepEqual(everything.filter((text) => text.includes(secret)).map((text) => text.slice(0, 2000)), [])
        }
        // The output is long: an empty output would prove nothing.
        assert.ok(spans.length > 20 && failures.length === 42 && everything.join("").length > 20_000)
      })
  )
})
