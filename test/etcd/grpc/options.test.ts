import { Cause, Config, ConfigProvider, Duration, Effect, Layer, Redacted } from "effect"
import assert from "node:assert/strict"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { describe, live } from "../../harness/it.ts"

const nowhere = ["http://127.0.0.1:1"]
const password = Redacted.make("s3cret")
const endpointRule = "each must be http://host:port, https://host:port or host:port, without blanks"
const durationRule = 'it must be a finite duration of at least 1 ms, such as "15 seconds"'
const minutes = "; a bare number means milliseconds"

const invalid: ReadonlyArray<readonly [options: EtcdGrpc.Options, message: string]> = [
  [{ endpoints: [] }, "endpoints is []; it must have at least one"],
  [{ endpoints: [""] }, `endpoints is ""; ${endpointRule}`],
  [{ endpoints: ["ftp://a:1"] }, `endpoints is "ftp://a:1"; ${endpointRule}`],
  [{ endpoints: ["http://a:99999"] }, `endpoints is "http://a:99999"; ${endpointRule}`],
  [{ endpoints: ["http://a:1\n"] }, `endpoints is "http://a:1\\n"; ${endpointRule}`],
  [{ endpoints: [" a:1"] }, `endpoints is " a:1"; ${endpointRule}`],
  [{ endpoints: ["localhost"] }, 'endpoints is "localhost"; it needs a port, such as 2379'],
  [{ endpoints: ["http://a:0"] }, 'endpoints is "http://a:0"; its port must be from 1 to 65535'],
  [{ endpoints: ["http://a:1/v3"] }, 'endpoints is "http://a:1/v3"; each must end after the port'],
  [{ endpoints: ["http://root:s3cret@a:1"] }, 'endpoints is "http://…@a:1"; set username and password instead'],
  [
    { endpoints: ["http://a:1", "https://b:2"] },
    'endpoints is ["http://a:1","https://b:2"]; they must be all http:// or all https://'
  ],
  [{ endpoints: ["http://a:1"], tls: {} }, 'endpoints is "http://a:1"; with tls each must be https://'],
  [{ endpoints: nowhere, username: "root" }, "password is undefined; it must be set together with username"],
  [{ endpoints: nowhere, password }, "username is undefined; it must be set together with password"],
  [{ endpoints: nowhere, username: "", password }, 'username is ""; it must be a name of at least one character'],
  [{ endpoints: nowhere, dialTimeout: 0 }, `dialTimeout is 0; ${durationRule}${minutes}`],
  [{ endpoints: nowhere, dialTimeout: -5 }, `dialTimeout is -5; ${durationRule}${minutes}`],
  [{ endpoints: nowhere, requestTimeout: Duration.infinity }, `requestTimeout is Infinity; ${durationRule}`],
  [
    { endpoints: nowhere, keepAliveTime: "5 seconds" },
    'keepAliveTime is "5 seconds"; it must be a finite duration of at least 10 s, such as "15 seconds"'
  ],
  [
    { endpoints: nowhere, maxReceiveBytes: 0.5 },
    "maxReceiveBytes is 0.5; it must be a whole number from 1 to 2147483647"
  ],
  [
    { endpoints: ["a:1"], tls: { serverName: "" } },
    'tls.serverName is ""; it must be a name or an IP address, such as etcd.example.com'
  ],
  [
    { endpoints: ["a:1"], tls: { ca: "/no/such/ca.pem" } },
    'tls.ca is "/no/such/ca.pem"; it must be PEM text or the path of a readable PEM file (ENOENT)'
  ]
]

const messageOf = (options: EtcdGrpc.Options) =>
  Effect.map(Effect.flip(Effect.scoped(EtcdGrpc.make(options))), (error) => {
    assert.equal(error._tag, "InvalidOption")
    return error.message
  })

describe("EtcdGrpc options", () => {
  for (const [options, message] of invalid) {
    live(`EtcdGrpc.make fails with InvalidOption: ${message}`, () =>
      Effect.gen(function* () {
        assert.equal(yield* messageOf(options), `cannot call EtcdGrpc.make: ${message}`)
      }))
  }

  live(
    "EtcdGrpc.make refuses a password that is not Redacted and a text that is not a duration",
    () =>
      Effect.gen(function* () {
        const untyped = (options: object) => messageOf({ endpoints: nowhere, ...options })
        assert.equal(
          yield* untyped({ username: "root", password: "s3cret" }),
          'cannot call EtcdGrpc.make: password is "a plain value"; it must be Redacted or an effect: Redacted.make("…")'
        )
        assert.equal(
          yield* untyped({ dialTimeout: "soon" }),
          `cannot call EtcdGrpc.make: dialTimeout is "soon"; ${durationRule}`
        )
        assert.match(yield* untyped({ syncEvery: 50 }), /^cannot call EtcdGrpc.make: syncEvery is 50; /)
      })
  )

  live(
    "EtcdGrpc.make accepts a slash after the port",
    () => Effect.asVoid(Effect.scoped(EtcdGrpc.make({ endpoints: ["127.0.0.1:1/", "http://127.0.0.1:2/"] })))
  )

  live(
    "EtcdGrpc.layer builds while no server is up",
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
        ETCD_DIAL_TIMEOUT: "500 millis",
        ETCD_SYNC_EVERY: "30 seconds"
      })
      const { key, ...tls } = options.tls ?? {}
      assert.ok(Redacted.isRedacted(options.password) && Redacted.isRedacted(key))
      assert.deepEqual([options.password, key].map(Redacted.value), ["s3cret", "/key.pem"])
      assert.deepEqual({ ...options, tls, password: String(options.password) }, {
        endpoints: ["https://a:1", "https://b:2"],
        username: "root",
        password: "<redacted>",
        tls: { ca: "/ca.pem", cert: "/cert.pem" },
        dialTimeout: Duration.millis(500),
        syncEvery: Duration.seconds(30)
      })
      assert.deepEqual(yield* read({ ETCD_ENDPOINTS: "a:1" }), { endpoints: ["a:1"] })
    }))

  live("EtcdGrpc.config drops the newline that ends a file", () =>
    Effect.gen(function* () {
      const env = { ETCD_ENDPOINTS: "http://a:1\n", ETCD_USERNAME: "root\n", ETCD_PASSWORD: "s3cret\r\n" }
      const options = yield* EtcdGrpc.config.parse(ConfigProvider.fromEnv({ env }))
      assert.deepEqual(options.endpoints, ["http://a:1"])
      assert.equal(options.username, "root")
      assert.ok(Redacted.isRedacted(options.password))
      assert.equal(Redacted.value(options.password), "s3cret")
    }))

  live("EtcdGrpc.layer accepts an endpoint with a slash at its end", () =>
    Effect.gen(function* () {
      for (const endpoint of ["127.0.0.1:2379/", "http://127.0.0.1:2379/"]) {
        yield* Effect.scoped(Layer.build(EtcdGrpc.layer({ endpoints: [endpoint] })))
      }
    }))

  live(
    "EtcdGrpc.layerConfig fails with a ConfigError for missing endpoints and with InvalidOption for invalid options",
    () =>
      Effect.gen(function* () {
        const build = (env: Record<string, string>) =>
          Layer.build(EtcdGrpc.layerConfig).pipe(
            Effect.scoped,
            Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
            Effect.flip
          )
        const missing = yield* build({})
        assert.ok(missing instanceof Config.ConfigError)
        assert.match(missing.message, /ETCD_ENDPOINTS is not set\. Set it to the endpoints of etcd, such as http/)
        const error = yield* build({ ETCD_ENDPOINTS: "http://a:1", ETCD_USERNAME: "u", ETCD_KEY: "s3cret" })
        assert.equal(error._tag, "InvalidOption")
        assert.ok(!Cause.pretty(Cause.fail(error)).includes("s3cret"))
      })
  )
})
