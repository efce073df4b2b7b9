/**
 * Reads etcd once before a command waits.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { library } from "./load.ts"

/**
 * Reads a prefix once, so that a wrong endpoint or password fails at once. The command may then wait for etcd without a
 * limit.
 */
export const reachable = (start: string): Effect.Effect<void, EtcdError, Etcd> =>
  Effect.flatMap(
    library,
    ({ Etcd, prefix }) =>
      Effect.flatMap(Etcd, (etcd) => Effect.asVoid(etcd.range({ ...prefix(start), limit: 1, keysOnly: true })))
  )
