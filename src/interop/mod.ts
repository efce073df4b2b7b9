/**
 * What other frameworks put into etcd, read and written: codecs for `Service.make`.
 *
 * | codec                    | keys                                          | what a service is called               |
 * | ------------------------ | --------------------------------------------- | -------------------------------------- |
 * | {@link goKit}            | `<prefix>/<host>:<port>`                      | its prefix: `/services/orders`         |
 * | {@link grpcNaming}       | `<target>/<host>:<port>`                      | its target: `foo/bar/my-service`       |
 * | {@link goZero}           | `<Key>/<number>`                              | its `Key`: `user.rpc`                  |
 * | {@link kratos}           | `/microservices/<name>/<id>`                  | the name of the application            |
 * | {@link kitex}            | `kitex/registry-etcd/<service>/<host>:<port>` | its service name                       |
 * | {@link dubboApplication} | `/services/<application>/<host>:<port>`       | the name of the application            |
 *
 * Keys are where those frameworks look for them; the namespace of the registry plays no part. A codec is also a function
 * that takes options and makes another codec of its format.
 *
 * Reading is strict: a value that is not UTF-8, has a byte order mark, is larger than 1 MiB, is no JSON, names a member
 * twice or is no instance of the service is listed in `rejected` of a set, and all others are there. A key without a
 * lease is rejected, too, but for {@link grpcNaming}.
 *
 * Writing loses nothing: what a format has no place for (metadata, a zone, a second endpoint) is refused with
 * `InvalidOption` before anything is sent, and so are `health` and `drain` where it has no place for the status
 * that they publish. `drain` of a registration in such a format does nothing: close its scope to take it out.
 *
 * @example A service of go-zero and its successor, discovered as one
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
export { dubboApplication } from "./dubboApplication.ts"
export type { Format } from "./format.ts"
export { goKit, type GoKitOptions } from "./goKit.ts"
export { goZero } from "./goZero.ts"
export { grpcNaming } from "./grpcNaming.ts"
export { kitex, type KitexOptions } from "./kitex.ts"
export { kratos, type KratosOptions } from "./kratos.ts"
