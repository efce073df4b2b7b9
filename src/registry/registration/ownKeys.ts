/**
 * The keys of the registrations of one registry, watched: each hears what becomes of its own.
 *
 * The first few keys of a service are followed one by one, so that a process does not hear of all the others in the
 * service. A process that registers more of them is a large part of the service itself: from then on one watch of all
 * its keys serves every further registration, for the cost of a place in a table.
 *
 * @module
 */
import { type Context, Effect, Fiber, type Scope } from "effect"
import { type Etcd, type KeyValue, prefix } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "../../etcd/follow.ts"

/** A key as it was at a revision. */
export interface SeenKey {
  readonly kv: KeyValue | undefined
  readonly revision: bigint
  /** Whether all was read again, so that this may be known already. */
  readonly listed: boolean
}

/** The keys of one registry. */
export interface OwnKeys {
  /**
   * Tells `see`, until the scope closes, what becomes of a key. Begins before the key is put, at a revision `before`
   * that; what comes between is told as well. `claimed` has to be called once it is put.
   */
  readonly enter: (
    key: string,
    before: bigint,
    see: (seen: SeenKey) => void
  ) => Effect.Effect<{ readonly claimed: (revision: bigint) => void }, never, Scope.Scope>
}

/** Keys of a service that are followed one by one. */
const fewKeys = 8

/** The keys of a service that are followed one by one, and the watch that serves the others. */
interface ServiceKeys {
  alone: number
  together: Together | undefined
}

/** A key, and the fiber that follows it if it has one of its own. */
interface OwnKey {
  readonly key: string
  readonly see: (seen: SeenKey) => void
  claimedAt: bigint | undefined
  fiber: Fiber.Fiber<void> | undefined
}

/** Keys that one watch follows; `failed` once that cannot be: then each is followed alone. */
interface Together {
  readonly members: Map<string, OwnKey>
  fiber: Fiber.Fiber<void> | undefined
  failed: boolean
}

/** Watches keys in this context. Nothing runs while there is none. */
export const make = (
  etcd: Etcd,
  followOptions: Omit<FollowOptions, "range" | "knownAt">,
  context: Context.Context<never>
): OwnKeys => {
  const services = new Map<string, ServiceKeys>()

  const run = (
    range: FollowOptions["range"],
    knownAt: bigint,
    tell: (followed: Followed) => Effect.Effect<void>,
    onFailure: (error: EtcdError) => Effect.Effect<void>
  ) =>
    Effect.runForkWith(context)(
      Effect.catch(follow(etcd, { ...followOptions, range, knownAt }, tell), onFailure)
    )

  const followAlone = (own: OwnKey): void => {
    if (own.claimedAt === undefined || own.fiber !== undefined) return
    const { key, see } = own
    own.fiber = run(
      { key },
      own.claimedAt,
      (followed) => Effect.sync(() => tellOne(followed, see)),
      (error) =>
        Effect.logWarning(`the key ${JSON.stringify(key)} cannot be watched; its loss will be noticed late`, error)
    )
  }

  const followTogether = (folder: string, before: bigint): Together => {
    const together: Together = { members: new Map(), fiber: undefined, failed: false }
    together.fiber = run(
      prefix(folder),
      before,
      (followed) => Effect.sync(() => tellMembers(followed, together.members)),
      () =>
        Effect.sync(() => {
          // Reading all of the service may be forbidden where reading one's own keys is not.
          together.failed = true
          for (const own of together.members.values()) followAlone(own)
        })
    )
    return together
  }

  const leave = (folder: string, service: ServiceKeys, own: OwnKey): Effect.Effect<void> => {
    const { together } = service
    const fibers = [own.fiber]
    if (together?.members.get(own.key) !== own) {
      service.alone -= 1
    } else {
      together.members.delete(own.key)
      if (together.members.size === 0) {
        service.together = undefined
        fibers.push(together.fiber)
      }
    }
    if (service.alone === 0 && service.together === undefined) services.delete(folder)
    return Fiber.interruptAll(fibers.filter((fiber) => fiber !== undefined))
  }

  return {
    enter: (key, before, see) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const folder = key.slice(0, key.lastIndexOf("/") + 1)
            const own: OwnKey = { key, see, claimedAt: undefined, fiber: undefined }
            const service = services.get(folder) ?? { alone: 0, together: undefined }
            services.set(folder, service)
            const isAlone = service.alone < fewKeys || folder === "" || service.together?.members.has(key) === true
            if (isAlone) service.alone += 1
            else (service.together ??= followTogether(folder, before)).members.set(key, own)
            return { folder, isAlone, own, service }
          }),
          ({ folder, own, service }) => Effect.suspend(() => leave(folder, service, own))
        ),
        ({ isAlone, own, service }) => ({
          claimed: (revision) => {
            own.claimedAt = revision
            if (isAlone || service.together?.failed === true) followAlone(own)
          }
        })
      )
  }
}

const tellOne = (followed: Followed, see: (seen: SeenKey) => void): void => {
  if (followed._tag === "Listed") {
    see({ kv: followed.kvs[0], revision: followed.revision, listed: true })
  } else if (followed._tag === "Changed") {
    for (const { kv, type } of followed.events) {
      see({ kv: type === "put" ? kv : undefined, revision: kv.modRevision, listed: false })
    }
  }
}

const decoder = new TextDecoder()

const tellMembers = (followed: Followed, members: ReadonlyMap<string, OwnKey>): void => {
  if (followed._tag === "Listed") {
    const found = new Map(followed.kvs.map((kv) => [decoder.decode(kv.key), kv]))
    for (const { key, see } of members.values()) see({ kv: found.get(key), revision: followed.revision, listed: true })
  } else if (followed._tag === "Changed") {
    for (const { kv, type } of followed.events) {
      members.get(decoder.decode(kv.key))?.see({
        kv: type === "put" ? kv : undefined,
        revision: kv.modRevision,
        listed: false
      })
    }
  }
}
