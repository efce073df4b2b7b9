/**
 * The watches of the keys that a registry has registered.
 *
 * The first keys of a service have a watch each, so that a process does not receive the changes of the whole service.
 * All further keys share one watch on the service, because a process with that many is a large part of it.
 *
 * @module
 */
import { type Context, Deferred, Effect, type Fiber, type Scope } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "../../etcd/follow.ts"
import { prefix } from "../../etcd/KeyRange.ts"
import type { KeyValue } from "../../etcd/messages/kv.ts"

/** A key as it was at a revision. */
export interface SeenKey {
  readonly kv: KeyValue | undefined
  readonly revision: bigint
  /** Whether this comes from a list, so that it may not be new. */
  readonly listed: boolean
  /** Whether the revision went back: etcd's history was replaced. */
  readonly isNewHistory: boolean
}

type OnSeen = (seen: SeenKey) => void

/** Watches a key from its claim on. Fails as `follow` does. */
export type WatchFrom = (claimedAt: bigint) => Effect.Effect<never, EtcdError>

/** The watches of the own keys of one registry. */
export interface OwnKeys {
  /**
   * Prepares the watch of a key, until the scope closes; the returned function runs it once the key is claimed. `before`
   * is a revision before the claim.
   */
  readonly enter: (key: string, before: bigint, onSeen: OnSeen) => Effect.Effect<WatchFrom, never, Scope.Scope>
}

const maxSingleWatches = 8

/** The watch that the keys of a service share. */
interface SharedWatch {
  readonly members: Map<string, OnSeen>
  readonly failed: Deferred.Deferred<never, EtcdError>
  fiber: Fiber.Fiber<never, EtcdError> | undefined
}

/** The keys of one service. */
interface Folder {
  singles: number
  shared: SharedWatch | undefined
  /** Whether etcd refused to read the whole service. It may still allow the own keys. */
  isRefused: boolean
}

/** Watches keys in this context. Nothing runs while there is no key. */
export const make = (
  etcd: Etcd,
  options: Omit<FollowOptions, "range" | "knownAt">,
  context: Context.Context<never>
): OwnKeys => {
  const folders = new Map<string, Folder>()

  const followSingle = (key: string, onSeen: OnSeen): WatchFrom => (claimedAt) =>
    follow(etcd, { ...options, range: { key }, knownAt: claimedAt }, reporter(claimedAt, new Map([[key, onSeen]])))

  const open = (path: string, folder: Folder, before: bigint): SharedWatch => {
    const shared: SharedWatch = { members: new Map(), failed: Deferred.makeUnsafe(), fiber: undefined }
    folder.shared = shared
    shared.fiber = Effect.runForkWith(context)(
      follow(etcd, { ...options, range: prefix(path), knownAt: before }, reporter(before, shared.members)).pipe(
        Effect.onError((cause) =>
          Effect.sync(() => {
            folder.isRefused = true
            folder.shared = undefined
            Deferred.doneUnsafe(shared.failed, Effect.failCause(cause))
          })
        )
      )
    )
    return shared
  }

  return {
    enter: (key, before, onSeen) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const path = key.slice(0, key.lastIndexOf("/") + 1)
            const folder = folders.get(path) ?? { singles: 0, shared: undefined, isRefused: false }
            folders.set(path, folder)
            if (folder.singles < maxSingleWatches || folder.isRefused || path === "") {
              folder.singles += 1
              return { path, folder, shared: undefined }
            }
            const shared = folder.shared ?? open(path, folder, before)
            shared.members.set(key, onSeen)
            return { path, folder, shared }
          }),
          ({ folder, path, shared }) =>
            Effect.sync(() => {
              if (shared === undefined) folder.singles -= 1
              else if (shared.members.get(key) === onSeen) shared.members.delete(key)
              if (shared?.members.size === 0) {
                shared.fiber?.interruptUnsafe()
                if (folder.shared === shared) folder.shared = undefined
              }
              if (folder.singles === 0 && folder.shared === undefined) folders.delete(path)
            })
        ),
        ({ shared }): WatchFrom => {
          const single = followSingle(key, onSeen)
          return shared === undefined ?
            single :
            (claimedAt) => Effect.catch(Deferred.await(shared.failed), () => single(claimedAt))
        }
      )
  }
}

const decoder = new TextDecoder()

/** Passes the reports of `follow` to the owners of the keys. */
const reporter = (knownAt: bigint, members: ReadonlyMap<string, OnSeen>) => {
  let newest = knownAt
  return (followed: Followed): Effect.Effect<void> =>
    Effect.sync(() => {
      if (followed._tag === "Listed") {
        const { kvs, revision } = followed
        const isNewHistory = revision < newest
        newest = revision
        const found = new Map(kvs.map((kv) => [decoder.decode(kv.key), kv]))
        for (const [key, onSeen] of [...members]) {
          onSeen({ kv: found.get(key), revision, listed: true, isNewHistory })
        }
      } else if (followed._tag === "Changed") {
        newest = followed.revision
        for (const { kv, type } of followed.events) {
          members.get(decoder.decode(kv.key))?.({
            kv: type === "put" ? kv : undefined,
            revision: kv.modRevision,
            listed: false,
            isNewHistory: false
          })
        }
      }
    })
}
