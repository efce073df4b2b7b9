/**
 * Invalid values for the options of every entry point. Each must fail with an `InvalidOption` that names the option.
 */
import * as grpcJs from "@grpc/grpc-js"
import { Cause, Duration, Effect, Exit, Layer, ManagedRuntime, Schema, Stream } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { Rpc, RpcGroup, RpcSerialization } from "effect/rpc"
import assert from "node:assert/strict"
import { discover, discoverAll, discoverChanges, getInstances, registerService, Registry, Service } from "../../mod.ts"
import { Balancer, ServiceClient } from "../../src/balancing/mod.ts"
import { ConfigRef } from "../../src/config/mod.ts"
import { Barrier, DistributedSemaphore, Election, Lock, Session } from "../../src/coordination/mod.ts"
import { EtcdGrpc, EtcdMemory } from "../../src/etcd/mod.ts"
import { GrpcResolver } from "../../src/grpc/mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../src/http/mod.ts"
import { Kv, Lease } from "../../src/kv/mod.ts"
import { connect } from "../../src/promise/mod.ts"
import { DiscoveryRpc } from "../../src/rpc/mod.ts"
import { describe, effect } from "../harness/it.ts"

/** Calls an entry point with one option set to a value that its type does not allow. */
// deno-lint-ignore no-explicit-any -- wrong values are the point
type Call = (option: any) => Effect.Effect<unknown, unknown, any>

class Pings extends RpcGroup.make(Rpc.make("Ping", { success: Schema.String })) {}

const endpoints = ["http://10.0.0.1:80"]
const first = <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.runDrain(Stream.take(stream, 1))

const register: Call = (option) => registerService("a", { endpoints, ...option })
const grpc: Call = (option) => Layer.build(EtcdGrpc.layer({ endpoints: ["https://127.0.0.1:1"], ...option }))
const client: Call = (option) => ServiceClient.make({ service: "a", connect: () => Effect.succeed(1), ...option })

/** Options with a duration. `true`: the duration may be infinite. */
const durations: ReadonlyArray<readonly [name: string, call: Call, options: ReadonlyArray<string>, infinite?: true]> = [
  ["registerService", register, ["ttl", "heartbeat", "startupTimeout", "healthEvery", "drain", "releaseTimeout"]],
  ["discover", (option) => first(discover("a", option)), ["progressEvery", "progressTimeout", "reconcileEvery"]],
  ["discoverAll", (option) => first(discoverAll(option)), ["progressEvery", "progressTimeout", "reconcileEvery"]],
  ["discoverChanges", (option) => first(discoverChanges("a", option)), ["progressEvery", "progressTimeout"]],
  ["Registry.layer", (option) => Layer.build(Registry.layer(option)), ["ttl", "drain", "reconcileEvery"]],
  ["EtcdGrpc.make", grpc, ["dialTimeout", "requestTimeout", "keepAliveTime", "syncEvery"]],
  ["EtcdGrpc.endpointsFromDns", (option) => EtcdGrpc.endpointsFromDns("localhost", option), ["timeout"]],
  ["Lock.acquire", (option) => Lock.acquire("/l", option), ["ttl", "timeout"]],
  ["Lock.tryAcquire", (option) => Lock.tryAcquire("/l", option), ["ttl"]],
  ["Election.campaign", (option) => Election.campaign("/e", "a", option), ["ttl", "timeout"]],
  [
    "DistributedSemaphore.make",
    (option) => DistributedSemaphore.make("/s", { permits: 1, ...option }),
    ["ttl", "timeout"]
  ],
  ["Session.make", (option) => Session.make(option), ["ttl"]],
  ["Lease.make", (option) => Lease.make("10 seconds", option), ["heartbeat"]],
  ["Lease.make", ({ ttl }) => Lease.make(ttl), ["ttl"]],
  ["Lease.grant", ({ ttl }) => Lease.grant(ttl), ["ttl"]],
  ["Kv.watch", (option) => first(Kv.watch("k", option)), ["progressEvery", "progressTimeout"]],
  ["ServiceClient.make", client, ["connectTimeout", "closeTimeout", "discoveryTimeout"]],
  ["ServiceClient.make", client, ["timeout", "attemptTimeout", "waitFor"], true],
  [
    "ServiceClient.make with discover",
    (option) => client({ discover: option }),
    ["progressEvery", "progressTimeout", "reconcileEvery"]
  ],
  [
    "DiscoveryHttpClient.make with discover",
    (option) => Effect.flatMap(HttpClient.HttpClient, (http) => DiscoveryHttpClient.make(http, { discover: option })),
    ["progressEvery", "progressTimeout", "reconcileEvery"]
  ],
  [
    "Balancer.peakEwma",
    (option) => Effect.fromResult(Balancer.make(Balancer.peakEwma(option))),
    ["decay"]
  ]
]

const wrongDurations: ReadonlyArray<unknown> = [
  Number.NaN,
  -1,
  Duration.seconds(-1),
  {},
  [],
  { second: 5 },
  { seconds: Number.NaN },
  [Number.NaN, 0],
  "",
  "soon",
  () => 1,
  true,
  Symbol("s")
]
const endless: ReadonlyArray<unknown> = [Number.POSITIVE_INFINITY, Duration.infinity, 1e308, Duration.days(2 ** 40)]

/** Options of other kinds with values that they must refuse. */
const others: ReadonlyArray<
  readonly [name: string, call: Call, wrong: Readonly<Record<string, ReadonlyArray<unknown>>>]
> = [
  ["registerService", ({ service }) => registerService(service, { endpoints }), {
    service: [undefined, null, 5, {}, [], () => "a", Symbol("s"), "", "a/b"]
  }],
  ["discover", ({ service }) => first(discover(service)), { service: [undefined, null, 5, {}, ""] }],
  ["getInstances", ({ service }) => getInstances(service), { service: [undefined, null, 5, {}, ""] }],
  ["registerService", register, {
    endpoints: [undefined, null, "http://10.0.0.1:80", [], [5]],
    retry: [3, {}, () => 1],
    health: [() => Effect.void, async () => {}, true, {}],
    weight: [Number.NaN, -1, 1e308, "1"],
    healthThreshold: [0, 1.5, "3"]
  }],
  [
    "Registration.update",
    ({ patch }) => Effect.flatMap(registerService("a", { endpoints }), ({ update }) => update(patch)),
    {
      patch: [undefined, null, 5, "weight"]
    }
  ],
  ["discover", (option) => first(discover("a", option)), {
    retry: [3, {}],
    protect: [null, 5, {}, { maxLoss: 2, hold: "1 second" }, { maxLoss: 0.5, hold: Number.NaN }]
  }],
  ["Registry.layer", (option) => Layer.build(Registry.layer(option)), { namespace: [null, 5, {}, Symbol("s"), ""] }],
  ["EtcdGrpc.make", grpc, {
    endpoints: [null, "http://127.0.0.1:2379", [5], [undefined], {}],
    tls: [5, { serverName: 5 }, { ca: new Uint8Array(3) }, { cert: 5 }, { ca: null }]
  }],
  ["Service.make", (option) => Effect.suspend(() => Effect.succeed(Service.make("a", option))), {
    metadata: [null, 5, {}],
    codec: [5, {}, { encode: () => 1 }]
  }],
  ["Lock.acquire", (option) => Lock.acquire("/l", option), { session: [5, {}, () => 1] }],
  ["Barrier.make", ({ name }) => Barrier.make(name), { name: [null, 5, "", "\ud800"] }],
  ["Kv.watch", (option) => first(Kv.watch("k", option)), { retry: [3], revision: [7, 0n, -1n, Number.NaN] }],
  ["Lease.make", (option) => Lease.make("10 seconds", option), { retry: [3] }],
  ["ConfigRef.make", (option) => ConfigRef.make("/c", Schema.String, option), {
    retry: [3],
    format: [5, "xml", "toString"]
  }],
  ["ServiceClient.make", client, {
    connect: [5, Effect.succeed(1)],
    strategy: [5, {}, "roundRobin"],
    backoff: [3],
    connectBackoff: [3],
    connectKey: [5],
    discover: [null, 5],
    retryable: [true],
    isFailure: [true],
    hedge: [null, 5, { after: "0.9" }, { after: 1 }],
    retryBudget: [null, 5],
    failureAccrual: [null, 5]
  }],
  [
    "DiscoveryHttpClient.make",
    (option) => Effect.flatMap(HttpClient.HttpClient, (http) => DiscoveryHttpClient.make(http, option)),
    {
      service: [5, null, "a/b"],
      services: [null, 5],
      isService: [true],
      hashKey: ["x"],
      retryStatus: ["5", [Number.NaN], ["503"]]
    }
  ],
  ["GrpcResolver.register", (option) => GrpcResolver.register(grpcJs, option), {
    scheme: [Number.NaN, "a b"],
    endpointSchemes: ["grpc", [], [5]],
    services: [null, 5],
    zone: [5, ""],
    discover: [5]
  }],
  [
    "DiscoveryRpc.layerProtocolHttp",
    (option) => Layer.build(DiscoveryRpc.layerProtocolHttp("a", { group: Pings, ...option })),
    {
      path: [5],
      hashKey: [true]
    }
  ],
  [
    "DiscoveryRpc.layerProtocolSocket",
    (option) => Layer.build(DiscoveryRpc.layerProtocolSocket("a", { group: Pings, ...option })),
    {
      path: [5],
      hashKey: [true],
      socket: [5],
      pingInterval: [0, Number.NaN, "1 millis", Number.POSITIVE_INFINITY]
    }
  ],
  ["makeFetch", (option) => Effect.sync(() => makeFetch(ManagedRuntime.make(FetchHttpClient.layer), option)), {
    maxReplayBytes: [-1, Number.NaN, 1.5, "1"]
  }],
  ["connect", (option) => Effect.tryPromise({ try: () => connect(option), catch: (error) => error }), {
    endpoints: [undefined, null, "http://127.0.0.1:2379", [5]]
  }]
]

const environment = Registry.layer().pipe(
  Layer.provideMerge(RpcSerialization.layerNdjson),
  Layer.provideMerge(EtcdMemory.layer()),
  Layer.provideMerge(FetchHttpClient.layer)
)

/** The refused option, or the outcome instead. */
const refusalOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "accepted"
  const error = Cause.squash(exit.cause)
  const refusal = error instanceof Error && "code" in error && error.code === "INVALID_OPTION" ? error.cause : error
  const isRefusal = typeof refusal === "object" && refusal !== null && "_tag" in refusal &&
    refusal._tag === "InvalidOption" && "option" in refusal
  return isRefusal ? String(refusal.option).split(/[.[]/)[0] ?? "" : String(error)
}

const checkAll = (call: Call, option: string, values: ReadonlyArray<unknown>) =>
  Effect.forEach(values, (value) =>
    Effect.suspend(() => call({ [option]: value })).pipe(
      Effect.scoped,
      Effect.provide(environment),
      Effect.exit,
      Effect.map((exit) => assert.equal(refusalOf(exit), option, `${option}: ${String(value)}`))
    ), { discard: true })

describe("wrong options", () => {
  for (const [name, call, options, infinite = false] of durations) {
    effect(`${name} refuses what is not a duration for ${options.join(", ")}`, () =>
      Effect.forEach(
        options,
        (option) => checkAll(call, option, infinite ? wrongDurations : [...wrongDurations, ...endless]),
        { discard: true }
      ))
  }
  for (const [name, call, wrong] of others) {
    effect(
      `${name} refuses wrong values for ${Object.keys(wrong).join(", ")}`,
      () =>
        Effect.forEach(Object.entries(wrong), ([option, values]) => checkAll(call, option, values), { discard: true })
    )
  }
})
