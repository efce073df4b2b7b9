/**
 * The oracle: which promises a history breaks. It uses the promises and the wire format of keys and values, and nothing
 * of the client's implementation.
 *
 * The rules "ordered", "unique", "atomic", "resumable" and "reliable" are those of etcd's own robustness tests
 * (etcd-io/etcd, tests/robustness, and "KV API guarantees" of its documentation), applied to sets instead of events.
 *
 * @module
 */
import { contentOf, type Entry, type History, type SeenSet } from "./History.ts"

/** The promises for this history. Times are in milliseconds. */
export interface Promised {
  /** The prefix of all keys, without a trailing slash. */
  readonly namespace: string
  readonly ttl: number
  /** `progressEvery + progressTimeout`: how long a subscriber may take to detect a silent watch. */
  readonly silence: number
  /** Maximum time from the end of a fault until all registrations are back and all subscribers have them. */
  readonly within: number
  /** Maximum time of a release. */
  readonly release: number
  /** Added to each of these for a busy machine and the delay of the oracle. */
  readonly slack: number
  /** No fault ends a lease: no key may be missing between registration and release. */
  readonly keeps?: boolean
  /** Several registrants claim the same ids: a loser may fail or be superseded. */
  readonly rivals?: boolean
  /** The operator gives keys to others: a registrant that loses its key may be superseded. */
  readonly robbed?: boolean
  /** A claim may take a key from an owner that still exists. */
  readonly takeover?: boolean
}

/** The rules. {@link judges} describes each. */
export type Rule =
  | "ordered"
  | "atomic"
  | "never smaller"
  | "unique"
  | "resumable"
  | "reliable"
  | "converged"
  | "says stale"
  | "live is true"
  | "leased"
  | "one owner"
  | "registered is true"
  | "status is true"
  | "back"
  | "no gap"
  | "silent after release"
  | "returns"
  | "gone when released"
  | "nothing left"
  | "nothing mended"

export interface Violation {
  readonly rule: Rule
  readonly detail: string
}

/** Milliseconds since the last fault ended, one per subscriber or registrant. */
export interface Figures {
  readonly converged: ReadonlyArray<number>
  readonly back: ReadonlyArray<number>
}

interface Write {
  readonly at: number
  readonly revision: bigint
  readonly id: string
  readonly key: string
  readonly lease: bigint
  /** `undefined`: not an instance (deleted, or the value does not decode). */
  readonly content: string | undefined
  readonly present: boolean
  readonly owner: string | undefined
  readonly draining: boolean
  /** Also in an earlier life: a snapshot was restored, and the key was not written again. */
  readonly restored: boolean
}

interface Life {
  readonly start: number
  readonly end: number
  /** By service, by revision. */
  readonly writes: ReadonlyMap<string, ReadonlyArray<Write>>
}

interface Span {
  readonly name: string
  readonly began: number
  readonly healed: number
  readonly cuts: boolean
  readonly freezes: boolean
  readonly refuses: boolean
}

type Of<Tag extends Entry["_tag"]> = Extract<Entry, { readonly _tag: Tag }>

/** An emission that equals a state of etcd: in which life, and until when. */
interface Placed {
  readonly at: number
  readonly set: SeenSet
  readonly life: number
  /** When etcd's state of the service changed next. */
  readonly outdated: number
}

interface Facts {
  readonly history: History
  readonly promised: Promised
  readonly lives: ReadonlyArray<Life>
  readonly spans: ReadonlyArray<Span>
  readonly quiet: number
  readonly end: number
  readonly operated: ReadonlySet<string>
  /** The entries of each subscription, starting with `Subscribed`. */
  readonly subscriptions: ReadonlyArray<ReadonlyArray<Entry>>
  readonly placed: ReadonlyMap<ReadonlyArray<Entry>, ReadonlyArray<Placed>>
  /** Violations by the sets themselves. */
  readonly misplaced: ReadonlyArray<Violation>
}

const of = <Tag extends Entry["_tag"]>(entries: ReadonlyArray<Entry>, tag: Tag): ReadonlyArray<Of<Tag>> =>
  entries.filter((entry): entry is Of<Tag> => entry._tag === tag)

interface Value {
  readonly id?: unknown
  readonly name?: unknown
  readonly endpoints?: unknown
  readonly metadata?: { readonly owner?: unknown } | null
  readonly weight?: number
  readonly status?: string
  readonly version?: string
  readonly zone?: string
}

const parse = (text: string): Value | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** Reads a value: its instance as one line, if it is one, and its owner. */
export const read = (
  { id, lease, name, text }: {
    readonly name: string
    readonly id: string
    readonly lease: bigint
    readonly text: string | undefined
  }
): Pick<Write, "content" | "draining" | "owner"> => {
  const value = text === undefined ? undefined : parse(text)
  const isInstance = value !== undefined && lease !== 0n && Array.isArray(value.endpoints) &&
    value.endpoints.length > 0 && (value.id ?? id) === id && (value.name ?? name) === name
  const owner = value?.metadata?.owner
  return {
    content: isInstance ?
      contentOf({
        ...value,
        endpoints: value.endpoints as ReadonlyArray<string>,
        metadata: value.metadata ?? {},
        status: value.status ?? "up",
        weight: value.weight ?? 1
      }) :
      undefined,
    owner: typeof owner === "string" ? owner : undefined,
    draining: value?.status === "draining"
  }
}

const writeOf = (
  { at, key, lease, revision, value }: Of<"Wrote">,
  name: string,
  id: string,
  restored: boolean
): Write => ({
  ...read({ name, id, lease, text: value }),
  at,
  revision,
  id,
  key,
  lease,
  present: value !== undefined,
  restored
})

const livesOf = (history: History, { namespace }: Promised): ReadonlyArray<Life> => {
  const starts = [-Infinity, ...of(history, "Replaced").map(({ at }) => at)]
  const known = new Set<string>()
  return starts.map((start, epoch) => {
    const writes = new Map<string, Array<Write>>()
    const wrote = of(history, "Wrote").filter((entry) => entry.epoch === epoch)
      .sort((a, b) => a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0)
    for (const entry of wrote) {
      if (!entry.key.startsWith(`${namespace}/`)) continue
      const [name = "", id = ""] = entry.key.slice(namespace.length + 1).split("/")
      let ofService = writes.get(name)
      if (ofService === undefined) writes.set(name, ofService = [])
      const written = JSON.stringify([String(entry.revision), entry.key, String(entry.lease), entry.value])
      ofService.push(writeOf(entry, name, id, known.has(written)))
      known.add(written)
    }
    return { start, end: starts[epoch + 1] ?? Infinity, writes }
  })
}

const spansOf = (history: History): ReadonlyArray<Span> => {
  const healed = new Map(of(history, "FaultHealed").map(({ at, fault }) => [fault, at]))
  return of(history, "FaultBegan").map(({ at, cuts, fault, freezes, name, refuses }) => ({
    name,
    began: at,
    healed: healed.get(fault) ?? Infinity,
    cuts,
    freezes,
    refuses
  }))
}

/** The instances of a service after a number of its writes. */
class State {
  readonly contents = new Map<string, string>()
  readonly #writes: ReadonlyArray<Write>
  #next = 0

  constructor(writes: ReadonlyArray<Write>) {
    this.#writes = writes
  }

  /** Applies the writes up to a revision. Moves only forward. */
  to(revision: bigint): this {
    for (let write = this.following; write !== undefined && write.revision <= revision; write = this.following) {
      if (write.content === undefined) this.contents.delete(write.id)
      else this.contents.set(write.id, write.content)
      this.#next++
    }
    return this
  }

  get following(): Write | undefined {
    return this.#writes[this.#next]
  }
}

const stateAt = (writes: ReadonlyArray<Write>, revision: bigint): State => new State(writes).to(revision)

const sameContents = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean => {
  if (a.size !== b.size) return false
  for (const [id, content] of a) if (b.get(id) !== content) return false
  return true
}

/** Finds for each set of a subscription the state of etcd that it equals. */
const place = (
  subscription: ReadonlyArray<Entry>,
  lives: ReadonlyArray<Life>,
  misplaced: Array<Violation>
): ReadonlyArray<Placed> => {
  const [first] = subscription
  if (first?._tag !== "Subscribed") return []
  const placed: Array<Placed> = []
  let life = 0
  let last = -1n
  let state = new State(lives[0]?.writes.get(first.service) ?? [])
  for (const { at, set } of of(subscription, "Emitted")) {
    let found: { readonly life: number; readonly state: State } | undefined
    const began = lives.flatMap(({ start }, index) => index >= life && start <= at ? [index] : [])
    // A revision may exist in two lives: try the newer one first for a live set, the older one for a stale set.
    for (const candidate of set.live ? began.reverse() : began) {
      if (candidate === life && set.revision < last) continue
      const writes = lives[candidate]?.writes.get(first.service) ?? []
      const tried = candidate === life ? state.to(set.revision) : stateAt(writes, set.revision)
      if (!sameContents(tried.contents, set.contents)) continue
      found = { life: candidate, state: tried }
      break
    }
    const where = `${first.subscriber} at revision ${set.revision}`
    if (found !== undefined) {
      ;({ life, state } = found)
      last = set.revision
      const end = lives[life]?.end ?? Infinity
      placed.push({ at, set, life, outdated: Math.min(state.following?.at ?? Infinity, end) })
    } else if (set.revision < last) {
      misplaced.push({ rule: "ordered", detail: `${where}, after ${last} of the same life of etcd` })
    } else {
      const missing = [...state.contents.keys()].filter((id) => !set.contents.has(id))
      const other = [...set.contents].filter(([id, content]) => state.contents.get(id) !== content)
      misplaced.push(
        missing.length > 0 && other.length === 0 ? { rule: "never smaller", detail: `${where} lacks ${missing}` } : {
          rule: "atomic",
          detail: `${where} is no state of etcd: ${other.map(([id, content]) => `${id} ${content}`)}; lacks ${missing}`
        }
      )
      last = set.revision
    }
  }
  return placed
}

const factsOf = (history: History, promised: Promised): Facts => {
  const lives = livesOf(history, promised)
  const subscriptions: Array<Array<Entry>> = []
  const current = new Map<string, Array<Entry>>()
  for (const entry of history) {
    if (!("subscriber" in entry)) continue
    if (entry._tag === "Subscribed") {
      const subscription: Array<Entry> = []
      subscriptions.push(subscription)
      current.set(entry.subscriber, subscription)
    }
    current.get(entry.subscriber)?.push(entry)
  }
  const misplaced: Array<Violation> = []
  return {
    history,
    promised,
    lives,
    spans: spansOf(history),
    quiet: of(history, "Quiet")[0]?.at ?? Infinity,
    end: history.at(-1)?.at ?? 0,
    operated: new Set(of(history, "Operated").map(({ epoch, revision }) => `${epoch} ${revision}`)),
    subscriptions,
    placed: new Map(subscriptions.map((subscription) => [subscription, place(subscription, lives, misplaced)])),
    misplaced
  }
}

const ends = (subscription: ReadonlyArray<Entry>): number =>
  subscription.find(({ _tag }) => _tag === "Ended" || _tag === "Unsubscribed")?.at ?? Infinity

const nameOf = ([first]: ReadonlyArray<Entry>): string =>
  first?._tag === "Subscribed" ? first.subscriber : "no instance"

/** The deadline of a process: `allowed` after `since`, or after the end of a span that froze it. */
const putOff = (spans: ReadonlyArray<Span>, since: number, allowed: number): number => {
  let until = since + allowed
  for (const span of spans) {
    if (span.freezes && span.began < until && span.healed > since) until = Math.max(until, span.healed + allowed)
  }
  return until
}

/** The time in which an emission is live and equals etcd's state: from, to. */
const truthful = (placed: ReadonlyArray<Placed>, index: number, end: number): readonly [number, number] => {
  const one = placed[index]
  if (one === undefined || !one.set.live) return [Infinity, -Infinity]
  return [one.at, Math.min(one.outdated, placed[index + 1]?.at ?? end)]
}

/** Milliseconds from a moment until the subscriber's set is live and equals etcd's state. */
const convergedAfter = (placed: ReadonlyArray<Placed>, moment: number, end: number): number => {
  for (const index of placed.keys()) {
    const [from, to] = truthful(placed, index, end)
    const start = Math.max(from, moment)
    if (start < to || (start === from && from <= to)) return start - moment
  }
  return Infinity
}

interface Registrant {
  readonly name: string
  readonly key: string
  readonly entries: ReadonlyArray<Entry>
  readonly registered: number
  readonly releasing: number
  readonly released: number
  /** When it ended by itself: superseded, or failed. */
  readonly over: number
}

const registrantsOf = ({ history }: Facts): ReadonlyArray<Registrant> => {
  const byName = Map.groupBy(
    history.filter((entry) => "registrant" in entry),
    (entry) => entry.registrant
  )
  return Array.from(byName, ([name, entries]) => {
    const called = of(entries, "Called")
    const returned = of(entries, "Returned")
    const at = (entry: Entry | undefined) => entry?.at ?? Infinity
    const failed = returned.find(({ call, failure }) =>
      call !== "release" && call !== "update" && failure !== undefined
    )
    return {
      name,
      key: called[0]?.key ?? "",
      entries,
      registered: at(returned.find(({ call, failure }) => call === "register" && failure === undefined)),
      releasing: at(called.find(({ call }) => call === "release")),
      released: at(returned.find(({ call }) => call === "release")),
      over: Math.min(
        at(failed),
        at(of(entries, "Status").find(({ status }) => status === "Superseded" || status === "Failed"))
      )
    }
  })
}

const writesOf = (facts: Facts, key: string): ReadonlyArray<Write & { readonly life: number }> => {
  const name = key.slice(facts.promised.namespace.length + 1).split("/")[0] ?? ""
  return facts.lives.flatMap(({ writes }, life) =>
    (writes.get(name) ?? []).filter((write) => write.key === key).map((write) => ({ ...write, life }))
  )
}

/** When the key was the registrant's own, in truth: from, to. */
const ownSpells = (facts: Facts, { key, name }: Registrant): ReadonlyArray<readonly [number, number]> => {
  const writes = writesOf(facts, key)
  const spells: Array<readonly [number, number]> = []
  for (const [index, write] of writes.entries()) {
    if (!write.present || write.owner !== name) continue
    const life = facts.lives[write.life]
    const next = writes[index + 1]
    const to = next?.life === write.life ? next.at : life?.end ?? Infinity
    const previous = spells.at(-1)
    // What a restored snapshot held was there from the beginning of that life.
    if (previous !== undefined && previous[1] >= write.at) spells[spells.length - 1] = [previous[0], to]
    else spells.push([write.at, to])
  }
  return spells
}

/** Milliseconds from a moment until the registrant has its key and keeps it. */
const backAfter = (facts: Facts, registrant: Registrant, moment: number): number => {
  const until = Math.min(facts.quiet, registrant.releasing)
  const last = ownSpells(facts, registrant).findLast(([from]) => from <= until)
  return last === undefined || last[1] < until ? Infinity : Math.max(0, last[0] - moment)
}

const lastHealing = (facts: Facts): number | undefined => {
  const healed = facts.spans.map((span) => span.healed).filter((at) => at <= facts.quiet)
  return healed.length === 0 ? undefined : Math.max(...healed)
}

/** The registrants that must be in etcd at the end. */
const keeping = (facts: Facts): ReadonlyArray<Registrant> =>
  registrantsOf(facts).filter((registrant) =>
    registrant.releasing > facts.quiet && registrant.over > facts.quiet && registrant.entries.length > 0
  )

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`

const misplacedBy = (rule: Rule) => ({ misplaced }: Facts): ReadonlyArray<string> =>
  misplaced.filter((one) => one.rule === rule).map(({ detail }) => detail)

/** Every rule, with the promises that it checks. */
const judges: Record<Rule, (facts: Facts) => ReadonlyArray<string>> = {
  /** Revisions never go back within one life of etcd (D2). */
  ordered: misplacedBy("ordered"),

  /** Each set equals etcd's state at exactly its revision (D2). */
  atomic: misplacedBy("atomic"),

  /** No set lacks an instance that exists at its revision: an unknown state is never emitted (D1, D7). */
  "never smaller": misplacedBy("never smaller"),

  /** No change is emitted twice (D3): each needs a write, and each differs from the state before it. */
  unique: ({ lives, promised: { slack }, subscriptions }) =>
    subscriptions.flatMap((subscription) => {
      const [first] = subscription
      if (first?._tag !== "Subscribed") return []
      const writes = Map.groupBy(lives.flatMap((life) => life.writes.get(first.service) ?? []), ({ id }) => id)
      const known = new Map<string, string>()
      const emitted = new Map<string, number>()
      return of(subscription, "Changed").flatMap(({ at, change, content, id }) => {
        const before = known.get(id)
        const isNews = change === "Added" ? before === undefined : before !== undefined
        const count = (emitted.get(id) ?? 0) + 1
        // Another life of etcd may begin without a key, without a write.
        const written = (writes.get(id) ?? []).filter((write) => write.at <= at + slack).length
        const isWritten = count <= written + lives.filter(({ start }) => start > first.at && start <= at).length
        emitted.set(id, count)
        if (change === "Removed") known.delete(id)
        else known.set(id, content)
        return isNews && isWritten ? [] : [`${first.subscriber}: ${change} ${id} ${content}, the ${count}th time`]
      })
    }),

  /** A stream ends only if etcd refuses (D3, D7). */
  resumable: ({ history, spans }) =>
    of(history, "Ended")
      .filter(({ at }) => !spans.some((span) => span.refuses && span.began <= at && at <= span.healed + 1000))
      .map(({ failure, subscriber }) => `${subscriber} ended: ${failure}`),

  /** At the end, the last set and the sum of the changes equal etcd's state (D3, D5). */
  reliable: (facts) =>
    of(facts.history, "Quiet").flatMap(({ at: quiet }) =>
      facts.subscriptions.flatMap((subscription) => {
        const [first] = subscription
        if (first?._tag !== "Subscribed" || first.at > quiet || ends(subscription) <= quiet) return []
        const writes = (facts.lives.at(-1)?.writes.get(first.service) ?? []).filter(({ at }) => at <= quiet)
        const { contents } = stateAt(writes, writes.at(-1)?.revision ?? 0n)
        const before = subscription.filter(({ at }) => at <= quiet)
        const changes = of(before, "Changed")
        const set = of(before, "Emitted").at(-1)?.set
        const names = (of: ReadonlyMap<string, string>) => [...of.keys()].sort().join(" ") || "no instance"
        if (changes.length > 0) {
          const sum = new Map<string, string>()
          for (const { change, content, id } of changes) {
            if (change === "Removed") sum.delete(id)
            else sum.set(id, content)
          }
          if (sameContents(sum, contents)) return []
          return [`${first.subscriber} adds up to ${names(sum)}; etcd holds ${names(contents)}`]
        }
        if (set === undefined) return contents.size === 0 ? [] : [`${first.subscriber} received nothing`]
        if (set.live && sameContents(set.contents, contents)) return []
        return [
          `${first.subscriber} has ${set.live ? "live" : "stale"} ${names(set.contents)}; etcd holds ${names(contents)}`
        ]
      })
    ),

  /** Subscribers converge in time after each fault (D3, D7). */
  converged: (facts) =>
    facts.subscriptions.flatMap((subscription) => {
      const end = Math.min(ends(subscription), facts.end)
      const placed = facts.placed.get(subscription) ?? []
      if (of(subscription, "Emitted").length === 0) return []
      return facts.spans.flatMap((span) => {
        const deadline = span.healed + facts.promised.within + facts.promised.slack
        const isOver = facts.spans.every((other) => other.began <= span.healed || other.began > deadline) &&
          (subscription[0]?.at ?? Infinity) < span.healed
        if (!isOver || span.healed > facts.quiet || end < deadline && end < facts.quiet) return []
        const took = convergedAfter(placed, span.healed, end)
        return took <= facts.promised.within + facts.promised.slack ?
          [] :
          [`${nameOf(subscription)} took ${seconds(took)} after "${span.name}"`]
      })
    }),

  /** A subscriber without contact to etcd emits Stale in time (D7, D8). */
  "says stale": (facts) =>
    facts.subscriptions.flatMap((subscription) => {
      const { promised: { silence, slack }, spans } = facts
      const emitted = of(subscription, "Emitted")
      const end = Math.min(ends(subscription), facts.end)
      return spans.filter((span) => span.cuts).flatMap((span) => {
        const due = putOff(spans, span.began, silence + slack)
        if (due >= Math.min(span.healed, end)) return []
        const current = emitted.findLast(({ at }) => at <= due)
        if (current?.set.live !== true) return []
        return [
          `${nameOf(subscription)} still said live ${seconds(due - span.began)} into "${span.name}"`
        ]
      })
    }),

  /** A set that is Live is at most one `silence` old (D7, D8). */
  "live is true": (facts) =>
    facts.subscriptions.flatMap((subscription) => {
      const { promised: { silence, slack }, spans } = facts
      const placed = facts.placed.get(subscription) ?? []
      const end = Math.min(ends(subscription), facts.end)
      return placed.flatMap(({ at, outdated, set }, index) => {
        if (!set.live) return []
        const until = placed[index + 1]?.at ?? end
        const due = putOff(spans, Math.max(at, outdated), silence + slack)
        return until <= due ? [] : [
          `${nameOf(subscription)} called revision ${set.revision} live ${seconds(until - outdated)} after it was not`
        ]
      })
    }),

  /** Each key has a lease. */
  leased: (facts) =>
    facts.lives.flatMap(({ writes }, life) =>
      [...writes.values()].flat()
        .filter(({ lease, present, restored, revision }) =>
          present && lease === 0n && !restored && !facts.operated.has(`${life} ${revision}`)
        )
        .map(({ key, revision }) => `${key} at revision ${revision} has no lease`)
    ),

  /** An id has one owner at a time. Another one follows only after the key was deleted (R8). */
  "one owner": (facts) =>
    facts.lives.flatMap(({ writes }, life) =>
      [...writes.values()].flatMap((ofService) => {
        const holders = new Map<string, string>()
        return ofService.flatMap(({ key, owner, present, restored, revision }) => {
          const before = holders.get(key)
          if (!present || owner === undefined) holders.delete(key)
          else holders.set(key, owner)
          const isTaken = present && !restored && before !== undefined && owner !== undefined && owner !== before
          return isTaken && facts.promised.takeover !== true && !facts.operated.has(`${life} ${revision}`) ?
            [`${owner} took ${key} from ${before} at revision ${revision}`] :
            []
        })
      })
    ),

  /** A completed registration is in etcd, under the lease and since the revision of its status (R1). */
  "registered is true": (facts) =>
    registrantsOf(facts).flatMap((registrant) => {
      const writes = writesOf(facts, registrant.key).filter(({ owner }) => owner === registrant.name)
      const details = of(registrant.entries, "Status").flatMap(({ claim }) =>
        claim === undefined ||
          writes.some(({ lease, revision }) => lease === claim.lease && revision === claim.revision) ?
          [] :
          [`${registrant.name} says it holds ${registrant.key} since revision ${claim.revision}`]
      )
      if (registrant.registered !== Infinity) {
        const isThere = writes.some(({ at }) => at <= registrant.registered + facts.promised.slack)
        if (!isThere) details.push(`${registrant.name} returned from register without being in etcd`)
      }
      return details
    }),

  /** A registrant that lost its key leaves the status Registered in time (R9, R10). */
  "status is true": (facts) =>
    registrantsOf(facts).flatMap((registrant) => {
      const { promised: { silence, slack, ttl }, spans } = facts
      const spells = ownSpells(facts, registrant)
      const statuses = of(registrant.entries, "Status")
      return statuses.flatMap(({ at, status }, index) => {
        if (status !== "Registered" && status !== "Draining") return []
        const until = Math.min(statuses[index + 1]?.at ?? facts.end, registrant.releasing)
        // The last time of this status at which the key was its own, or is so again within the slack.
        let from = at
        for (const spell of spells) if (spell[0] <= from + slack && spell[1] > from) from = spell[1]
        const next = spells.find((spell) => spell[0] > from)?.[0] ?? Infinity
        const due = putOff(spans, from, ttl + silence + slack)
        return Math.min(until, next) <= due ?
          [] :
          [`${registrant.name} said ${status} ${seconds(until - from)} after it was not`]
      })
    }),

  /** Every registration is back in time, and none ends by itself (R3). */
  back: (facts) => {
    const healed = lastHealing(facts) ?? -Infinity
    const registrants = registrantsOf(facts)
    const late = keeping(facts).flatMap((registrant) => {
      const since = Math.max(healed, registrant.entries[0]?.at ?? 0)
      const took = backAfter(facts, registrant, since)
      return took <= facts.promised.within + facts.promised.slack ? [] : [`${registrant.name} took ${seconds(took)}`]
    })
    const lost = registrants.flatMap((registrant) => {
      const isRefused = facts.spans.some((span) => span.refuses && span.began <= registrant.over)
      const mayEnd = facts.promised.rivals === true || facts.promised.robbed === true || isRefused
      return registrant.over === Infinity || mayEnd ? [] : [`${registrant.name} has given up`]
    })
    return [...late, ...lost]
  },

  /** If no lease is lost, no key is ever missing (R2). */
  "no gap": (facts) => {
    if (facts.promised.keeps !== true) return []
    return registrantsOf(facts).flatMap((registrant) => {
      const since = ownSpells(facts, registrant)[0]?.[0] ?? Infinity
      return writesOf(facts, registrant.key)
        .filter(({ at, present }) => !present && at > since && at < registrant.releasing)
        .map(({ revision }) => `${registrant.key} was deleted at revision ${revision}`)
    })
  },

  /** After the start of a release, only "draining" is written (R5). */
  "silent after release": (facts) =>
    registrantsOf(facts).flatMap((registrant) => {
      const { releasing } = registrant
      // A request that was on its way when a fault began may arrive when the fault ends.
      const underway = facts.spans.filter((span) => span.began <= releasing + facts.promised.release)
        .map((span) => span.healed)
      const until = Math.max(releasing, ...underway.filter((healed) => healed > releasing)) + facts.promised.slack
      return writesOf(facts, registrant.key)
        .filter(({ at, draining, owner, present, restored }) =>
          present && owner === registrant.name && at > until && !draining && !restored
        )
        .map(({ revision }) => `${registrant.name} wrote at revision ${revision}`)
    }),

  /** Every call returns, a release within its time (R5). */
  returns: (facts) =>
    registrantsOf(facts).flatMap(({ entries, name, released, releasing }) => {
      const calls = of(entries, "Called").length
      const returns = of(entries, "Returned").length
      const details = calls === returns ? [] : [`${name}: ${calls} calls, ${returns} returns`]
      if (
        released < Infinity && released > putOff(facts.spans, releasing, facts.promised.release + facts.promised.slack)
      ) {
        details.push(`${name} took ${seconds(released - releasing)} to be released`)
      }
      return details
    }),

  /** If etcd answers, the key is gone when release returns (R5). */
  "gone when released": (facts) =>
    registrantsOf(facts).flatMap((registrant) => {
      const { key, name, released, releasing } = registrant
      const { slack, ttl } = facts.promised
      const isTroubled = facts.spans.some((span) => span.began < released && span.healed > releasing - ttl)
      if (released === Infinity || isTroubled) return []
      const remains = ownSpells(facts, registrant).some(([from, to]) => from <= released && to > released + slack)
      return remains ? [`${name} left ${key}`] : []
    }),

  /** No lease and no key remains after every scope is closed (R5, R6, D11). */
  "nothing left": ({ history }) =>
    of(history, "Left").filter(({ keys, leases }) => keys.length + leases.length > 0)
      .map(({ keys, leases }) => `keys ${keys}; leases ${leases}`),

  /** Reconciliation repaired nothing (D8). */
  "nothing mended": ({ history }) =>
    of(history, "Mended").filter(({ count }) => count > 0)
      .map(({ count }) => `${count} keys`)
}

export const rules: ReadonlyArray<Rule> = Object.keys(judges) as ReadonlyArray<Rule>

/** The rules that a history breaks. */
export const check = (history: History, promised: Promised): ReadonlyArray<Violation> => {
  const facts = factsOf(history, promised)
  return rules.flatMap((rule) => judges[rule](facts).map((detail) => ({ rule, detail })))
}

/** How long each registrant and subscriber took after the last fault had ended. */
export const figuresOf = (history: History, promised: Promised): Figures => {
  const facts = factsOf(history, promised)
  const healed = lastHealing(facts)
  if (healed === undefined) return { converged: [], back: [] }
  return {
    converged: facts.subscriptions
      .filter((subscription) => of(subscription, "Emitted").length > 0 && ends(subscription) > facts.quiet)
      .map((subscription) => convergedAfter(facts.placed.get(subscription) ?? [], healed, facts.end)),
    back: keeping(facts).map((registrant) => backAfter(facts, registrant, healed))
  }
}
