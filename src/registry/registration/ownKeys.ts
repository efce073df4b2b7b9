/**
 * The watches of the keys that a registry has registered.
 *
 * The first keys of a service have a watch each, so that a process does not receive the changes of the whole service.
 * All further keys share one watch on the service, because a process with that many is a large part of it.
 *
 * @module
 */
import { type Cause, type Context, Effect, type Fiber } from "effect"
import * as Backoff from "../../etcd/Backoff.ts"
import type { Etcd } from "../../etcd/Etcd.ts"
import { follow, type Followed, type FollowOptions } from "../../etcd/follow.ts"
import { prefix } from "../../etcd/KeyRange.ts"
import { logWarning } from "../../internal/log.ts"
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

/** Who is interested in a key. */
export interface Observer {
  readonly onSeen: (seen: SeenKey) => void
  /** The watch died. */
  readonly onDied: (cause: Cause.Cause<unknown>) => void
}

/** The watches of the own keys of one registry. */
export interface OwnKeys {
  /**
   * Prepares the watch of a key. `from` is the revision of the claim if the key is claimed already, and otherwise a
   * revision before the claim.
   *
   * A watch that is refused is repeated slowly, because a role may come back.
   */
  readonly enter: (key: string, from: bigint, isClaimed: boolean, observer: Observer) => KeyWatch
}

/** The watch of one key. */
export interface KeyWatch {
  /** Called once, with the revision of the claim. */
  readonly begin: (claimedAt: bigint) => void
  readonly end: () => void
}

const maxSingleWatches = 8

/** A key whose watch was prepared. */
interface Member extends Observer {
  readonly key: string
  claimedAt: bigint | undefined
  /** The watch of this key alone. */
  fiber: Fiber.Fiber<void> | undefined
}

/** The watch that the keys of a service share. */
interface SharedWatch {
  readonly progress: Progress
  readonly members: Map<string, Member>
  fiber: Fiber.Fiber<void> | undefined
}

/** The revision up to which a watch has reported everything. */
interface Progress {
  reported: bigint
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
  const fork = Effect.runForkWith(context)

  const watchSingle = (member: Member, claimedAt: bigint) => {
    const { key, onDied } = member
    const report = reporter({ reported: claimedAt }, new Map([[key, member]]))
    member.fiber = fork(
      follow(etcd, { ...options, range: { key }, knownAt: claimedAt }, report).pipe(
        Effect.tapError((error) => logWarning(`cannot watch ${JSON.stringify(key)}; retrying`, error)),
        // The watch resumes from the claim, so that nothing is missed.
        Effect.retry(Backoff.refused),
        Effect.catchCause((cause) => Effect.sync(() => onDied(cause)))
      )
    )
  }

  const watchShared = (path: string, folder: Folder, from: bigint): SharedWatch => {
    const shared: SharedWatch = { progress: { reported: from }, members: new Map(), fiber: undefined }
    folder.shared = shared
    const close = () => {
      folder.isRefused = true
      folder.shared = undefined
    }
    shared.fiber = fork(
      follow(etcd, { ...options, range: prefix(path), knownAt: from }, reporter(shared.progress, shared.members)).pipe(
        Effect.catch(() =>
          Effect.sync(() => {
            close()
            for (const member of shared.members.values()) {
              if (member.claimedAt !== undefined) watchSingle(member, member.claimedAt)
            }
          })
        ),
        Effect.catchCause((cause) =>
          Effect.sync(() => {
            close()
            for (const { onDied } of shared.members.values()) onDied(cause)
          })
        )
      )
    )
    return shared
  }

  /** The shared watch, unless it may have reported a change of a key that was claimed before. */
  const sharedFrom = (path: string, folder: Folder, from: bigint, isClaimed: boolean): SharedWatch | undefined => {
    const shared = folder.shared ?? watchShared(path, folder, from)
    return isClaimed && shared.progress.reported > from ? undefined : shared
  }

  const leave = (path: string, folder: Folder, member: Member, shared: SharedWatch | undefined) => {
    member.fiber?.interruptUnsafe()
    if (shared === undefined) folder.singles -= 1
    else if (shared.members.get(member.key) === member) shared.members.delete(member.key)
    if (shared?.members.size === 0) {
      shared.fiber?.interruptUnsafe()
      if (folder.shared === shared) folder.shared = undefined
    }
    if (folder.singles === 0 && folder.shared === undefined) folders.delete(path)
  }

  return {
    enter: (key, from, isClaimed, observer) => {
      const path = key.slice(0, key.lastIndexOf("/") + 1)
      const folder = folders.get(path) ?? { singles: 0, shared: undefined, isRefused: false }
      folders.set(path, folder)
      const member: Member = { ...observer, key, claimedAt: undefined, fiber: undefined }
      const shared = folder.singles < maxSingleWatches || folder.isRefused || path === "" ?
        undefined :
        sharedFrom(path, folder, from, isClaimed)
      if (shared === undefined) folder.singles += 1
      else shared.members.set(key, member)
      return {
        begin: (claimedAt) => {
          member.claimedAt = claimedAt
          if (shared === undefined || folder.shared !== shared) watchSingle(member, claimedAt)
        },
        end: () => leave(path, folder, member, shared)
      }
    }
  }
}

const decoder = new TextDecoder()

/** Passes the reports of `follow` to the observers of the keys. */
const reporter =
  (progress: Progress, members: ReadonlyMap<string, Observer>) => (followed: Followed): Effect.Effect<void> =>
    Effect.sync(() => {
      if (followed._tag === "Listed") {
        const { kvs, revision } = followed
        const isNewHistory = revision < progress.reported
        progress.reported = revision
        const found = new Map(kvs.map((kv) => [decoder.decode(kv.key), kv]))
        for (const [key, { onSeen }] of [...members]) {
          onSeen({ kv: found.get(key), revision, listed: true, isNewHistory })
        }
      } else if (followed._tag === "Changed") {
        progress.reported = followed.revision
        for (const { kv, type } of followed.events) {
          members.get(decoder.decode(kv.key))?.onSeen({
            kv: type === "put" ? kv : undefined,
            revision: kv.modRevision,
            listed: false,
            isNewHistory: false
          })
        }
      }
    })
