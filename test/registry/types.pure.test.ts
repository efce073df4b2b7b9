import { type Effect, Schema, type Scope, type Stream } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import {
  discover,
  discoverChanges,
  type DiscoveryError,
  getInstances,
  InstanceSet,
  type InvalidOption,
  type Labels,
  registerService,
  type Registration,
  type RegistrationError,
  type Registry,
  Service
} from "../../mod.ts"
import { goZero } from "../../src/interop/mod.ts"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Checks at compile time that the type of a value is exactly `Expected`. */
const hasType = <Expected>() => <Actual>(_value: Actual, _equal: Equals<Expected, Actual>): void => {}

type Shard = { readonly shard: number }
const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
const Loose = Service.make("loose", { metadata: Schema.Struct({ shard: Schema.optionalKey(Schema.Int) }) })
const endpoints = ["http://a:1"]

describe("types", () => {
  it("Service.make infers the metadata from its schema, its codec, or strings", () => {
    hasType<Service.Service<Labels>>()(Service.make("orders"), true)
    hasType<Service.Service<Shard>>()(Orders, true)
    hasType<Service.Service<Labels>>()(Service.make("users.rpc", { codec: goZero }), true)
    assert.equal(Orders.name, "orders")
  })

  it("each function infers the metadata from the service", () => {
    hasType<Effect.Effect<Registration<Labels>, RegistrationError, Registry.Registry | Scope.Scope>>()(
      registerService("orders", { endpoints }),
      true
    )
    hasType<Effect.Effect<Registration<Shard>, RegistrationError, Registry.Registry | Scope.Scope>>()(
      registerService(Orders, { endpoints, metadata: { shard: 1 } }),
      true
    )
    hasType<Stream.Stream<InstanceSet.InstanceSet<Labels>, DiscoveryError, Registry.Registry>>()(
      discover("orders"),
      true
    )
    hasType<
      Stream.Stream<InstanceSet.InstanceSet<Shard>, DiscoveryError, Registry.Registry>
    >()(discover(Orders), true)
    hasType<Stream.Stream<InstanceSet.Change<Shard>, DiscoveryError, Registry.Registry>>()(
      discoverChanges(Orders),
      true
    )
    hasType<Effect.Effect<InstanceSet.InstanceSet<Labels>, DiscoveryError, Registry.Registry>>()(
      getInstances("orders"),
      true
    )
  })

  it("InstanceSet.merge has the metadata, errors and services of all its sources", () => {
    hasType<
      Stream.Stream<
        InstanceSet.InstanceSet<Labels | Shard>,
        InvalidOption | DiscoveryError,
        Registry.Registry
      >
    >()(InstanceSet.merge({ old: discover("orders"), now: { sets: discover(Orders), weight: 2 } }), true)
  })

  it("registerService requires the metadata if its schema requires a member", () => {
    registerService(Loose, { endpoints })
    registerService(Loose, { endpoints, metadata: { shard: 1 } })
    registerService("orders", { endpoints, metadata: { version: "1" } })
    // @ts-expect-error -- the schema requires `shard`
    registerService(Orders, { endpoints })
    // @ts-expect-error -- `shard` is a number
    registerService(Orders, { endpoints, metadata: { shard: "1" } })
    // @ts-expect-error -- a name has metadata of strings
    registerService("orders", { endpoints, metadata: { shard: 1 } })
    // @ts-expect-error -- endpoints are required
    registerService("orders", {})
    // @ts-expect-error -- the name is the first argument
    registerService({ name: "orders", endpoints })
    // @ts-expect-error -- a single read has no backoff
    getInstances("orders", { retry: 1 })
  })
})
