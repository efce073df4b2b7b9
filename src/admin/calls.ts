/**
 * Access to the cluster's administration through {@link Etcd}, and the shared checks of its functions.
 *
 * @module
 */
import { Duration, Effect, Redacted, Result } from "effect"
import type { MemberCalls } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { type Check, checkOptions, type InvalidOption } from "../internal/options.ts"
import * as Etcd3 from "./etcd3.ts"

/** The calls to the member at an endpoint. The endpoint is checked before anything is sent. */
export const callsTo = (
  of: string,
  endpoint: string,
  option = "endpoint"
): Effect.Effect<MemberCalls, InvalidOption, Etcd> =>
  Effect.flatMap(Etcd, ({ administration }) =>
    checked(of, (check) => {
      const calls = administration.at(check.text(option, endpoint))
      return Result.isSuccess(calls) ? calls.success : check.refuse(option, calls.failure.value, calls.failure.rule)
    }))

/** Calls a method of a client of `etcd3` at the current member. */
export const call = <Response>(
  method: string,
  use: (clients: Etcd3.Clients) => Promise<Response>
): Effect.Effect<Response, EtcdError, Etcd> =>
  Effect.flatMap(Etcd, ({ administration }) => Etcd3.call(administration, method, use))

/** Calls a method of a client of `etcd3` at an endpoint. Waits until the member responds. */
export const callAt = <Response>(
  of: string,
  endpoint: string,
  method: string,
  use: (clients: Etcd3.Clients) => Promise<Response>
): Effect.Effect<Response, EtcdError | InvalidOption, Etcd> =>
  Effect.flatMap(callsTo(of, endpoint), (calls) => Etcd3.call(calls, method, use, Duration.infinity))

/** Checks the arguments of one function. */
export const checked = <A>(of: string, body: (check: Check) => A): Effect.Effect<A, InvalidOption> =>
  Effect.suspend(() => Effect.fromResult(checkOptions(of, body)))

/**
 * The id of a member: a `bigint`, or hexadecimal text as `etcdctl` prints it.
 *
 * @since 0.1.0
 * @category models
 */
export type MemberId = bigint | string

const maxUint64 = 2n ** 64n - 1n

/** The id of a member as a positive uint64. */
export const checkMemberId = (check: Check, option: string, id: MemberId): bigint => {
  const value = typeof id === "bigint" ? id : /^[0-9a-f]{1,16}$/i.test(String(id)) ? BigInt(`0x${id}`) : 0n
  return value > 0n && value <= maxUint64 ? value : check.refuse(
    option,
    id,
    'it must be the id of a member: a positive bigint of 64 bits, or hexadecimal text such as "8e9e05c52164694d"'
  )
}

/** The name of a user or of a role. */
export const checkName = (check: Check, option: string, name: string): string =>
  check.text(option, name) === "" ? check.refuse(option, name, "it must be a name of at least one character") : name

/** The text of a password. No error contains it. */
export const checkPassword = (check: Check, password: Redacted.Redacted): string => {
  if (!Redacted.isRedacted(password)) {
    const shown = password === undefined ? undefined : "a plain value"
    return check.refuse("password", shown, 'it must be Redacted: Redacted.make("…")')
  }
  const text = Redacted.value(password)
  return typeof text === "string" && text !== "" ?
    text :
    check.refuse("password", "<redacted>", "it must have at least one character")
}
