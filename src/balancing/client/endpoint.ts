/**
 * Selects an endpoint of an instance by scheme.
 *
 * @module
 */
import { Effect } from "effect"
import { shorten, show } from "../../internal/options.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"
import { withoutUserInfo } from "../../internal/text/userInfo.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"

const EndpointMissingBase: TaggedErrorClass<"EndpointMissing", {
  readonly service: string
  /** The instance. */
  readonly id: string
  /** The accepted schemes. */
  readonly schemes: ReadonlyArray<string>
  /** The endpoints of the instance, with "…" in place of user names and passwords. */
  readonly endpoints: ReadonlyArray<string>
}> = TaggedErrorClass("EndpointMissing")

/**
 * The instance has no endpoint with an accepted scheme.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointMissing extends EndpointMissingBase {
  override get message(): string {
    return `${this.id} of ${show(this.service)} has no endpoint with ${this.schemes.join(" or ")}: ` +
      shorten(this.endpoints.join(", "))
  }
}

/**
 * The first endpoint of an instance that has one of the schemes.
 *
 * **When to use**
 *
 * In `connect`, for services whose instances serve more than one protocol.
 *
 * **Details**
 *
 * Ignores the case of schemes. Fails with `EndpointMissing` if there is no such endpoint. A service client treats that
 * as a failed `connect`.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { ServiceClient } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* ServiceClient.make({
 *     service: "orders",
 *     connect: (instance) => ServiceClient.endpointOf(instance, "grpc", "grpcs")
 *   })
 *   return yield* orders.call((url) => Effect.succeed(url))
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", endpoints: ["http://10.0.0.5:8080", "grpc://10.0.0.5:9090"] }
 * ])
 * const url = await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(registry)))
 * assert.equal(url, "grpc://10.0.0.5:9090")
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const endpointOf = (
  instance: ServiceInstance<unknown>,
  ...schemes: readonly [string, ...ReadonlyArray<string>]
): Effect.Effect<string, EndpointMissing> => {
  const wanted = schemes.map((scheme) => `${scheme.toLowerCase()}:`)
  const found = instance.endpoints.find((endpoint) =>
    wanted.includes(endpoint.slice(0, endpoint.indexOf(":") + 1).toLowerCase())
  )
  return found === undefined ?
    Effect.fail(
      new EndpointMissing({
        service: instance.name,
        id: instance.id,
        schemes,
        endpoints: instance.endpoints.map(withoutUserInfo)
      })
    ) :
    Effect.succeed(found)
}
