/**
 * The snapshot of a member, verified with its checksum.
 *
 * @module
 */
import { Effect, Stream } from "effect"
import type { ISnapshotResponse } from "etcd3"
import { createHash } from "node:crypto"
import type { Etcd } from "../etcd/Etcd.ts"
import { EtcdError, Unknown } from "../etcd/EtcdError.ts"
import type { InvalidOption } from "../internal/options.ts"
import { callsTo } from "./calls.ts"
import { streamRpc } from "./etcd3.ts"

const checksumBytes = 32

/**
 * The data of a member as a file that `etcdctl snapshot restore` and `etcdutl snapshot restore` read.
 *
 * **Details**
 *
 * etcd ends a snapshot with its SHA-256. If it does not match, the stream fails before it emits these last 32 bytes, so
 * that a restore rejects the incomplete file. Backpressure limits the memory in use.
 *
 * @example
 * ```ts
 * import { Maintenance } from "@effect-etcd/discovery/admin"
 * import { Effect, Stream } from "effect"
 * import { open } from "node:fs/promises"
 *
 * export const backUp = (endpoint: string, path: string) =>
 *   Effect.scoped(Effect.gen(function* () {
 *     const file = yield* Effect.acquireRelease(
 *       Effect.promise(() => open(path, "w")),
 *       (file) => Effect.promise(() => file.close())
 *     )
 *     yield* Stream.runForEach(Maintenance.snapshot(endpoint), (bytes) => Effect.promise(() => file.writeFile(bytes)))
 *   }))
 * ```
 *
 * @since 0.1.0
 * @category upkeep
 */
export const snapshot = (endpoint: string): Stream.Stream<Uint8Array, EtcdError | InvalidOption, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    const calls = yield* callsTo("Maintenance.snapshot", endpoint)
    const rpc = yield* streamRpc<ISnapshotResponse>("snapshot")
    return verified(Stream.map(calls.serverStream(rpc), ({ blob }): Uint8Array => blob), endpoint)
  }))

/** The bytes of a snapshot. Fails at the end if the last 32 are not the SHA-256 of all earlier ones. */
export const verified = <E>(
  blobs: Stream.Stream<Uint8Array, E>,
  endpoint: string
): Stream.Stream<Uint8Array, E | EtcdError> =>
  Stream.suspend(() => {
    const hash = createHash("sha256")
    // The last bytes so far, which may be the checksum.
    let held: Uint8Array = new Uint8Array()
    const release = (blob: Uint8Array): Uint8Array => {
      const bytes = new Uint8Array(held.length + blob.length)
      bytes.set(held)
      bytes.set(blob, held.length)
      const end = Math.max(0, bytes.length - checksumBytes)
      held = bytes.subarray(end)
      const data = bytes.subarray(0, end)
      hash.update(data)
      return data
    }
    const checksum = Stream.suspend((): Stream.Stream<Uint8Array, EtcdError> => {
      if (hash.digest().equals(held)) return Stream.succeed(held)
      const reason = new Unknown({ detail: "the snapshot does not match its SHA-256 checksum, or has none" })
      return Stream.fail(new EtcdError({ reason, method: "snapshot", endpoint }))
    })
    return Stream.concat(Stream.map(blobs, release), checksum)
  })
