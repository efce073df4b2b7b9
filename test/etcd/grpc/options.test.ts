import { Cause, Config, ConfigProvider, Duration, Effect, Layer, Redacted } from "effect"
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { describe, live } from "../../harness/it.ts"
import { certificates, failureOf } from "./support.ts"

const nowhere = ["http://127.0.0.1:1"]
const password = Redacted.make("s3cret")
const endpointRule = "must be http://host:port, https://host:port or host:port"

const wrong: ReadonlyArray<readonly [EtcdGrpc.EtcdGrpcOptions, string]> = [
  [{ endpoints: [] }, "endpoints must name at least one, got an empty list"],
  [{ endpoints: [""] }, `endpoints: "" ${endpointRule}`],
  [{ endpoints: ["ftp://a:1"] }, `endpoints: "ftp://a:1" ${endpointRule}`],
  [{ endpoints: ["http://a:99999"] }, `endpoints: "http://a:99999" ${endpointRule}`],
  [{ endpoints: ["localhost"] }, 'endpoints: "localhost" needs a port, such as 2379'],
  [{ endpoints: ["http://a:1/v3"] }, 'endpoints: "http://a:1/v3" must end after the port'],
  [
    { endpoints: ["http://root:s3cret@a:1"] },
    'endpoints: "http://…@a:1" must hold no credentials: use username and password'
  ],
  [
    { endpoints: ["http://a:1", "https://b:2"] },
    "endpoints must be all http:// or all https://, got http://a:1/ and https://b:2/"
  ],
  [{ endpoints: ["http://a:1"], tls: {} }, 'endpoints: "http://a:1" is not encrypted: with tls it must be https://'],
  [{ endpoints: nowhere, username: "root" }, 'password must be given with username "root"'],
  [{ endpoints: nowhere, password }, "username must be given with password"],
  [{ endpoints: nowhere, username: "", password }, 'username must not be empty, got ""'],
  [{ endpoints: nowhere, dialTimeout: 0 }, "dialTimeout must be a positive, finite duration, got 0"],
  [{ endpoints: nowhere, dialTimeout: -5 }, "dialTimeout must be a positive, finite duration, got -5"],
  [
    { endpoints: nowhere, requestTimeout: Duration.infinity },
    "requestTimeout must be a positive, finite duration, got Infinity"
  ],
  [
    { endpoints: nowhere, keepAliveTime: "5 seconds" },
    "keepAliveTime must be 10 seconds or more, or etcd cuts the connection, got 5000 ms"
  ],
  [
    { endpoints: nowhere, maxReceiveBytes: 0.5 },
    "maxReceiveBytes must be a whole number from 1 to 2147483647, got 0.5"
  ],
  [{ endpoints: ["a:1"], tls: { cert: "./c.pem" } }, "tls.cert needs tls.key, its private key"],
  [{ endpoints: ["a:1"], tls: { key: "./c.pem" } }, "tls.key needs tls.cert, its certificate"],
  [{ endpoints: ["a:1"], tls: { serverName: "" } }, 'tls.serverName must not be empty, got ""'],
  [
    { endpoints: ["a:1"], tls: { ca: "/no/such/ca.pem" } },
    'tls.ca must be PEM text or the path of a PEM file, got "/no/such/ca.pem" (ENOENT)'
  ]
]

describe("EtcdGrpc options", () => {
  for (const [options, detail] of wrong) {
    live(`EtcdGrpc.make says: ${detail}`, () =>
      Effect.gen(function* () {
        assert.deepEqual(yield* failureOf(Effect.scoped(EtcdGrpc.make(options))), {
          reason: "InvalidArgument",
          detail,
          method: "connect",
          key: undefined,
          endpoint: undefined
        })
      }))
  }

  live(
    "EtcdGrpc.make refuses a password that is not Redacted and a duration that is none",
    () =>
      Effect.gen(function* () {
        const untyped = (options: object) => failureOf(Effect.scoped(EtcdGrpc.make({ endpoints: nowhere, ...options })))
        assert.equal(
          (yield* untyped({ username: "root", password: "s3cret" })).detail,
          'password must be Redacted: Redacted.make("…")'
        )
        assert.equal(
          (yield* untyped({ dialTimeout: "soon" })).detail,
          'dialTimeout must be a positive, finite duration, got "soon"'
        )
      })
  )

  live(
    "EtcdGrpc.make reads PEM files, refuses what is no PEM, and never shows what may be a key",
    () =>
      Effect.gen(function* () {
        const { ca, cert, folder, key } = yield* certificates("IP:127.0.0.1")
        const tls = (options: EtcdGrpc.EtcdGrpcTls) =>
          Effect.scoped(EtcdGrpc.make({ endpoints: ["https://127.0.0.1:1"], tls: options }))
        yield* tls({ ca, cert, key })
        yield* tls({ ca: readFileSync(ca, "utf8") })

        const noise = join(folder, "noise.pem")
        writeFileSync(noise, "-----BEGIN CERTIFICATE-----\nbm9pc2U=\n-----END CERTIFICATE-----\n")
        const broken = yield* failureOf(tls({ ca: noise }))
        assert.ok(broken.detail.startsWith(`tls.ca "${noise}" is no usable PEM`), broken.detail)

        const body = readFileSync(key, "utf8").split("\n").slice(1, -2).join("\n")
        const keyless = yield* failureOf(tls({ cert, key: body }))
        assert.match(keyless.detail, /^tls\.key must be PEM text or the path of a PEM file, got text that is neither/)
        assert.ok(!keyless.detail.includes(body.slice(0, 20)))
      })
  )

  live(
    "EtcdGrpc.layer builds while nothing listens",
    () => Effect.asVoid(Effect.scoped(Layer.build(EtcdGrpc.layer({ endpoints: nowhere }))))
  )

  live("EtcdGrpc.config reads each variable", () =>
    Effect.gen(function* () {
      const read = (env: Record<string, string>) => EtcdGrpc.config.parse(ConfigProvider.fromEnv({ env }))
      const options = yield* read({
        ETCD_ENDPOINTS: "https://a:1, https://b:2",
        ETCD_USERNAME: "root",
        ETCD_PASSWORD: "s3cret",
        ETCD_CA_CERT: "/ca.pem",
        ETCD_CERT: "/cert.pem",
        ETCD_KEY: "/key.pem",
        ETCD_DIAL_TIMEOUT: "500 millis"
      })
      assert.ok(options.password)
      assert.equal(Redacted.value(options.password), "s3cret")
      assert.deepEqual({ ...options, password: String(options.password) }, {
        endpoints: ["https://a:1", "https://b:2"],
        username: "root",
        password: "<redacted>",
        tls: { ca: "/ca.pem", cert: "/cert.pem", key: "/key.pem" },
        dialTimeout: Duration.millis(500)
      })
      assert.deepEqual(yield* read({ ETCD_ENDPOINTS: "a:1" }), { endpoints: ["a:1"] })
    }))

  live(
    "EtcdGrpc.layerConfig fails with a ConfigError without endpoints and with an EtcdError for bad ones",
    () =>
      Effect.gen(function* () {
        const build = (env: Record<string, string>) =>
          Layer.build(EtcdGrpc.layerConfig).pipe(
            Effect.scoped,
            Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
            Effect.flip
          )
        assert.ok((yield* build({})) instanceof Config.ConfigError)
        const error = yield* build({ ETCD_ENDPOINTS: "http://a:1", ETCD_USERNAME: "u", ETCD_KEY: "s3cret" })
        assert.equal(error._tag, "EtcdError")
        assert.ok(!Cause.pretty(Cause.fail(error)).includes("s3cret"))
      })
  )
})
