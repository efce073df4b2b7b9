/**
 * The format of go-zero, package `core/discov`: keys `<Key>/<id>` with bare addresses as values.
 *
 * The id is the lease id, or the `ID` of the `Etcd` block. Readers ignore it: an instance is an address, and it exists
 * while at least one key has that address. After a new grant go-zero may leave two keys for a while.
 *
 * @module
 */
import { Result } from "effect"
import { type AddressOptions, endpointOf, onlyAddress } from "./address.ts"
import { bytesOf, type Format, format, readText } from "./format.ts"
import { target } from "./path.ts"

const number = /^-?(?:0|[1-9]\d{0,18})$/

const int64 = (id: string): Result.Result<string, string> =>
  typeof id === "string" && number.test(id) && BigInt.asIntN(64, BigInt(id)) === BigInt(id) ?
    Result.succeed(id) :
    Result.fail("it must be a 64-bit integer in decimal, as a string")

/** Random, as lease ids are, and above 0. */
const randomInt64 = (): string => {
  const [random = 0n] = crypto.getRandomValues(new BigUint64Array(1))
  return String(BigInt.asUintN(63, random) || 1n)
}

/**
 * The format of go-zero's `Publisher` and `Subscriber`.
 *
 * The name of a service is its `Key`, such as `user.rpc`.
 *
 * **Details**
 *
 * Stores no metadata, weight, zone, version or status, and one endpoint per instance: `tcp://host:port`, or with the
 * `scheme` of the options. A discovered instance has its address as its id, and keys with the same address are one
 * instance. The `id` of a registration is the number in its key, by default a random one.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { goZero } from "@effect-etcd/discovery/interop"
 *
 * const Users = Service.make("user.rpc", { codec: goZero })
 * const UsersOverGrpc = Service.make("user.rpc", { codec: goZero({ scheme: "grpc" }) })
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const goZero: Format<Readonly<Record<string, string>>, AddressOptions> = format<
  Readonly<Record<string, string>>,
  AddressOptions
>(({ scheme = "tcp" }) => ({
  title: "go-zero",
  layout: {
    servicePrefix: (name) => `${name}/`,
    checkName: target,
    checkId: int64,
    newId: randomInt64,
    idFromValue: true
  },
  encode: (instance) => Result.map(onlyAddress(scheme, instance), bytesOf),
  decode: (name, _, value) =>
    Result.gen(function* () {
      const address = yield* readText(value)
      return Object.freeze({
        id: address,
        name,
        metadata: Object.freeze({}),
        endpoints: Object.freeze([yield* endpointOf(scheme, address)]),
        weight: 1,
        status: "up" as const
      })
    })
}))
