/**
 * Asking etcd once before a command waits.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { library } from "./load.ts"

/**
 * Reads a prefix once. What follows may wait for etcd as long as it takes; a command that was given the wrong endpoint or
 * password fails at once.
 */
export const reachable = (start: string): Effect.Effect<void, EtcdError, Etcd> =>
  Effect.flatMap(
    library,
    ({ Etcd, prefix }) =>
      Effect.flatMap(Etcd, (etcd) => Effect.asVoid(etcd.range({ ...prefix(start), limit: 1, keysOnly: true })))
  )
