import { Effect, Layer, Result, Schema } from "effect"
import assert from "node:assert/strict"
import * as Service from "../../../src/registry/model/Service.ts"
import type { RegisterOptions } from "../../../src/registry/registration/RegisterOptions.ts"
import { discover, getInstances, InvalidOption, registerService, Registry } from "../../../mod.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { limitMillis } from "../../harness/real.ts"
import { quiet, recorded, registryAt } from "./support.ts"

const nameRule = "it must be 1 to 253 bytes of UTF-8, without '/' and control characters, and neither '.' nor '..'"
const endpointRule =
  "it must be an absolute URL such as http://10.0.0.5:8080, or host:port, without blanks and with a port of 1 to 65535"
const addressRule = "it must be a host name or an IP address, without a port"
const weightRule = "it must be a finite number from 0 to 1000000"
/** The message of the rule for a duration with this value. */
const durationRule = (value: unknown, bounds: string, example = "15 seconds") =>
  `it must be a finite duration ${bounds}, such as "${example}"${
    typeof value === "number" ? "; a bare number means milliseconds" : ""
  }`
const ttlBounds = "of at least 2 s and at most 104166 d 16 h"
const heartbeatBounds = (most: string) => `of at least 1 ms and at most ${most}`
const endpointsRule = "it must be a list of at least one endpoint"

/** Invalid options: the option, its value and the rule that the error names. */
const invalid: ReadonlyArray<
  readonly [
    options: { readonly [Key in keyof RegisterOptions | "name"]?: unknown },
    option: string,
    value: unknown,
    rule: string
  ]
> = [
  ...["", ".", "..", "a/b", "a\nb", "\u0000", "a\u0085", "x".repeat(254), "é".repeat(127), "\ud800"].flatMap((text) => [
    [{ name: text }, "service", text, nameRule] as const,
    [{ id: text }, "id", text, nameRule] as const
  ]),
  [{ endpoints: [] }, "endpoints", [], endpointsRule],
  [{ endpoints: undefined }, "endpoints", undefined, endpointsRule],
  [{ endpoints: "http://a:1" }, "endpoints", "http://a:1", endpointsRule],
  ...[
    "",
    "a",
    "http://",
    "/path",
    "a:0",
    "a:65536",
    "a:b",
    "http//a:1",
    "http:// a:1",
    "http://a:0",
    "http://a:1\n",
    " a:1",
    "http://a:1/\t"
  ].map((text) => [{ endpoints: ["http://a:1", text] }, "endpoints[1]", text, endpointRule] as const),
  ...["1999 millis", 0, -1, Number.NaN, Infinity, "9000000001 seconds", "soon"].map((ttl) =>
    [{ ttl }, "ttl", ttl, durationRule(ttl, ttlBounds)] as const
  ),
  [
    { ttl: "2 seconds", heartbeat: "1001 millis" },
    "heartbeat",
    "1001 millis",
    durationRule("1001 millis", heartbeatBounds("1 s"), "100 millis")
  ],
  [
    { heartbeat: "8 seconds" },
    "heartbeat",
    "8 seconds",
    durationRule("8 seconds", heartbeatBounds("7.5 s"), "2 seconds")
  ],
  [{ heartbeat: 0 }, "heartbeat", 0, durationRule(0, heartbeatBounds("7.5 s"), "2 seconds")],
  ...[-1, Number.NaN, Infinity].map((weight) => [{ weight }, "weight", weight, weightRule] as const),
  [{ version: 1 }, "version", 1, "it must be a string"],
  [{ zone: 1 }, "zone", 1, "it must be a string"],
  [{ advertise: "10.0.0.5:80" }, "advertise", "10.0.0.5:80", addressRule],
  [{ advertise: "0.0.0.0" }, "advertise", "0.0.0.0", addressRule],
  [{ claim: "mine" }, "claim", "mine", 'it must be one of "restart", "exclusive", "overwrite"'],
  [{ startup: "later" }, "startup", "later", 'it must be one of "await", "background"'],
  [{ startupTimeout: 0 }, "startupTimeout", 0, durationRule(0, "of at least 1 ms")],
  [{ drain: Infinity }, "drain", Infinity, durationRule(Infinity, "of 0 or more")],
  [{ releaseTimeout: "never" }, "releaseTimeout", "never", durationRule("never", "of at least 1 ms")],
  [{ health: Effect.void, healthEvery: 0 }, "healthEvery", 0, durationRule(0, "of at least 1 ms")],
  [
    { health: Effect.void, healthThreshold: 0 },
    "healthThreshold",
    0,
    "it must be a whole number of at least 1"
  ]
]

describe("bad input", () => {
  /** No server listens behind the proxy, which counts every attempt to connect. */
  const nowhere = Effect.gen(function* () {
    const proxy = yield* makeProxy({ endpoint: "http://127.0.0.1:9" })
    const assertUntouched = Effect.map(proxy.accepted, (accepted) => assert.equal(accepted, 0, "something was sent"))
    return { endpoint: proxy.endpoint, assertUntouched }
  })

  live(
    "registerService refuses each invalid option by name, value and rule, before any I/O",
    () =>
      Effect.gen(function* () {
        const { assertUntouched, endpoint } = yield* nowhere
        for (const [options, option, value, rule] of invalid) {
          const { name, ...wanted } = { name: "orders", endpoints: ["http://a:1"], ...options }
          const result = yield* Effect.result(registerService(name as string, wanted as RegisterOptions)).pipe(
            Effect.provide(registryAt(endpoint))
          )
          const about = JSON.stringify(options)
          assert.ok(Result.isFailure(result), about)
          assert.deepEqual(
            { ...result.failure },
            { _tag: "InvalidOption", of: "registerService", option, value, rule },
            about
          )
          assert.ok(
            result.failure.message.startsWith(`cannot call registerService: ${option} is `) &&
              result.failure.message.endsWith(rule),
            result.failure.message
          )
        }
        yield* assertUntouched
      }).pipe(Effect.scoped)
  )

  live(
    "registerService refuses invalid metadata and a value over 1 MiB, before any I/O",
    () =>
      Effect.gen(function* () {
        const { assertUntouched, endpoint } = yield* nowhere
        yield* Effect.gen(function* () {
          const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
          const refused = yield* Effect.flip(registerService(Orders, { endpoints: ["a:1"], metadata: { shard: 1.5 } }))
          assert.ok(refused._tag === "InvalidOption")
          assert.deepEqual([refused.option, refused.value], ["metadata", { shard: 1.5 }])
          assert.match(refused.rule, /^metadata: .*integer.*shard/)
          const untyped = { endpoints: ["a:1"] } as unknown as RegisterOptions<{ readonly shard: number }>
          const missing = yield* Effect.flip(registerService(Orders, untyped))
          assert.ok(missing._tag === "InvalidOption")
          assert.equal(missing.option, "metadata")
          assert.match(missing.rule, /shard/)

          const large = yield* Effect.flip(registerService("orders", {
            id: "a",
            endpoints: ["a:1"],
            metadata: { text: "x".repeat(1024 * 1024) }
          }))
          const around = JSON.stringify({
            id: "a",
            name: "orders",
            metadata: { text: "" },
            endpoints: ["tcp://a:1"],
            weight: 1,
            status: "up"
          }).length
          assert.deepEqual(
            large,
            new InvalidOption({
              of: "registerService",
              option: "value",
              value: `${1024 * 1024 + around} bytes`,
              rule: "an instance must encode to at most 1048576 bytes"
            })
          )
        }).pipe(Effect.scoped, Effect.provide(registryAt(endpoint)))
        yield* assertUntouched
      })
  )

  live(
    "Registration.update refuses an invalid patch while etcd is down, before any I/O, and changes nothing",
    () =>
      Effect.gen(function* () {
        const { endpoint } = yield* nowhere
        yield* Effect.gen(function* () {
          const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
          const registration = yield* registerService(Orders, {
            endpoints: ["a:1"],
            metadata: { shard: 1 },
            startup: "background"
          })
          const before = registration.instance
          for (
            const [patch, option] of [
              [{ weight: -1 }, "weight"],
              [{ weight: Number.NaN }, "weight"],
              [{ metadata: { shard: 0.5 } }, "metadata"],
              [{ status: "sleeping" as "up" }, "status"],
              [{ version: 3 as unknown as string }, "version"]
            ] as const
          ) {
            const error = yield* Effect.flip(registration.update(patch)).pipe(Effect.timeout(limitMillis))
            assert.ok(error._tag === "InvalidOption", JSON.stringify(patch))
            assert.equal(error.option, option)
          }
          assert.equal(registration.instance, before)
        }).pipe(Effect.scoped, Effect.provide(registryAt(endpoint, { releaseTimeout: "100 millis" })))
      }).pipe(Effect.provide(quiet))
  )

  live(
    "discover and getInstances refuse invalid names and options, before any I/O",
    () =>
      Effect.gen(function* () {
        const { assertUntouched, endpoint } = yield* nowhere
        yield* Effect.gen(function* () {
          for (const name of ["", "a/b", "..", "\u0007"]) {
            const error = yield* Effect.flip(getInstances(name))
            assert.deepEqual({ ...error }, {
              _tag: "InvalidOption",
              of: "getInstances",
              option: "service",
              value: name,
              rule: nameRule
            })
            assert.match(error.message, /^cannot call getInstances: service is ".*"; it must be 1 to 253 bytes/)
            const sets = yield* recorded(discover(name))
            const exit = yield* sets.ended
            assert.deepEqual({ ...(yield* Effect.flip(exit)) }, { ...error, of: "discover" })
          }
          for (
            const [options, option, value] of [
              [{ progressEvery: 0 }, "progressEvery", 0],
              [{ progressTimeout: -1 }, "progressTimeout", -1],
              [{ reconcileEvery: Number.NaN }, "reconcileEvery", Number.NaN],
              [{ protect: { maxLoss: 2, hold: "1 second" } }, "protect.maxLoss", 2],
              [{ protect: { maxLoss: 0.5, hold: 0 } }, "protect.hold", 0]
            ] as const
          ) {
            const sets = yield* recorded(discover("orders", options))
            const error = yield* Effect.flip(yield* sets.ended)
            assert.ok(error._tag === "InvalidOption", JSON.stringify(options))
            assert.deepEqual([error.option, error.value], [option, value])
          }
        }).pipe(Effect.scoped, Effect.provide(registryAt(endpoint)))
        yield* assertUntouched
      })
  )

  live(
    "Registry.layer refuses an invalid namespace, Registry.layerEtcd invalid endpoints and certificates",
    () =>
      Effect.gen(function* () {
        const { assertUntouched, endpoint } = yield* nowhere
        const silent = yield* Effect.flip(Layer.build(registryAt(endpoint, { progressEvery: "-1 second" })))
        assert.deepEqual({ ...(silent as object) }, {
          _tag: "InvalidOption",
          of: "Registry.layer",
          option: "progressEvery",
          value: "-1 second",
          rule: durationRule("-1 second", "of at least 1 ms")
        })
        const short = yield* Effect.flip(Layer.build(registryAt(endpoint, { ttl: 15 })))
        assert.deepEqual({ ...(short as object) }, {
          _tag: "InvalidOption",
          of: "Registry.layer",
          option: "ttl",
          value: 15,
          rule: durationRule(15, ttlBounds)
        })
        for (const namespace of ["", "/", "//", "/a//b", "/a\n", "/a/.."]) {
          const error = yield* Effect.flip(Layer.build(registryAt(endpoint, { namespace })))
          assert.deepEqual({ ...(error as object) }, {
            _tag: "InvalidOption",
            of: "Registry.layer",
            option: "namespace",
            value: namespace,
            rule:
              "it must be segments joined by '/', each a legal service name, with or without '/' in front, such as /services"
          })
        }
        for (
          const options of [
            { endpoints: [] },
            { endpoints: ["not a url at all"] },
            { endpoints: [endpoint.replace("http:", "https:")], tls: { ca: "/no/such/file.pem" } },
            { endpoints: [endpoint], username: "root" }
          ]
        ) {
          const error = yield* Effect.flip(
            Layer.build(Registry.layerEtcd(options as Parameters<typeof Registry.layerEtcd>[0]))
          )
          assert.ok(error._tag === "InvalidOption", JSON.stringify(options))
        }
        yield* assertUntouched
      })
  )
})
