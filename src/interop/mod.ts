/**
 * Codecs for `Service.make` that read and write the formats of other frameworks.
 *
 * | codec              | keys                                          | name of a service                     |
 * | ------------------ | --------------------------------------------- | ------------------------------------- |
 * | {@link goKit}      | `<prefix>/<host>:<port>`                      | its prefix: `/services/orders`        |
 * | {@link grpcNaming} | `<target>/<host>:<port>`                      | its target: `foo/bar/my-service`      |
 * | {@link goZero}     | `<Key>/<number>`                              | its `Key`: `user.rpc`                 |
 * | {@link kratos}     | `/microservices/<name>/<id>`                  | the name of the application           |
 * | {@link kitex}      | `kitex/registry-etcd/<service>/<host>:<port>` | its service name                      |
 * | {@link dubbo}      | `/services/<application>/<host>:<port>`       | the name of the application           |
 * | {@link skydns}     | `/skydns/<labels reversed>/<id>`              | its domain name: `orders.example.org` |
 *
 * **Details**
 *
 * The keys are those of the other framework. The namespace of the registry does not matter. A codec is also a function
 * from options to another codec of its format.
 *
 * Every key below the prefix of a service is an instance or `rejected`, as in the original: with any id, and with JSON
 * names in any case, as in Go. A value is rejected if it is not UTF-8, has a byte order mark, is larger than 1 MiB, is
 * not JSON, has a duplicate name, or is not an instance of the service. A key without a lease is also rejected, except
 * in {@link grpcNaming}.
 *
 * Writing loses nothing. Anything that a format cannot store (metadata, a zone, a second endpoint) fails with
 * `InvalidOption` before anything is sent. `health` and `drain` fail likewise if the format has no status.
 * `Registration.drain` in such a format does nothing: close the scope to take the instance out.
 *
 * **Example** (A service of go-zero and its successor, discovered as one)
 *
 * ```ts
 * import { discover, InstanceSet, registerService, Registry, Service } from "@effect-etcd/discovery"
 * import { goZero } from "@effect-etcd/discovery/interop"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const Users = Service.make("user.rpc", { codec: goZero })
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService(Users, { endpoints: ["10.0.0.5:8080"] })
 *   yield* registerService("users", { endpoints: ["10.0.0.6:8080"] })
 *   const sets = InstanceSet.merge({ old: discover(Users), new: discover("users") })
 *   return yield* sets.pipe(Stream.take(1), Stream.runHead)
 * })
 *
 * const set = await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * assert.deepEqual(set.pipe((some) => some._tag === "Some" && [...some.value.endpoints].sort()), [
 *   "tcp://10.0.0.5:8080",
 *   "tcp://10.0.0.6:8080"
 * ])
 * ```
 *
 * @module
 */
export type { AddressOptions } from "./address.ts"
export { dubbo } from "./dubbo.ts"
export type { Format } from "./format.ts"
export { goKit, type GoKitOptions } from "./goKit.ts"
export { goZero } from "./goZero.ts"
export { grpcNaming } from "./grpcNaming.ts"
export { kitex, type KitexOptions } from "./kitex.ts"
export { kratos, type KratosOptions } from "./kratos.ts"
export { skydns, type SkydnsOptions } from "./skydns.ts"
