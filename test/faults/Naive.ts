/**
 * Clients with common mistakes, to prove that the suite detects them. Do not use them.
 *
 * Both register with a grant and a put, send heartbeats, and silently give up after five attempts. If the watch breaks,
 * they watch again from the current revision and miss what happened in between.
 *
 * - The naive client watches from the current revision and reads everything again on each event. If its lease is lost,
 *   it puts the key under a new one, even if another process holds it by then.
 * - The forgetful client reads once, watches from there, and applies each event. If its lease is lost, it stops.
 *
 * @module
 */
import { Effect, Schedule, Stream } from "effect"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import type { WatchResponse } from "../../src/etcd/messages/watch.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import { contentOf, type SeenSet } from "./History.ts"
import type { Client, NaiveName, SeenChange } from "./Subject.ts"

const retries = 5
const text = new TextDecoder()

const fiveTimes = <A>(effect: Effect.Effect<A, EtcdError>): Effect.Effect<A, EtcdError> =>
  Effect.retry(effect, { times: retries, schedule: Schedule.spaced("100 millis") })

export const connectNaive = (etcd: Etcd, namespace: string, name: NaiveName): Effect.Effect<Client> => {
  const note = (contents: Map<string, string>, id: string, value: Uint8Array): void => {
    try {
      contents.set(id, contentOf(JSON.parse(text.decode(value))))
    } catch {
      // the key of another client
    }
  }

  const read = Effect.fnUntraced(function* (service: string) {
    const start = `${namespace}/${service}/`
    const { header, kvs } = yield* etcd.range(prefix(start))
    const contents = new Map<string, string>()
    for (const { key, value } of kvs) note(contents, text.decode(key).slice(start.length), value)
    return { revision: header.revision, live: true, contents }
  })

  const believe = (service: string, { contents, revision }: SeenSet, response: WatchResponse): SeenSet => {
    const next = new Map(contents)
    let last = revision
    for (const { kv, type } of response._tag === "Events" ? response.events : []) {
      const id = text.decode(kv.key).slice(`${namespace}/${service}/`.length)
      if (type === "delete") next.delete(id)
      else note(next, id, kv.value)
      last = kv.modRevision
    }
    return { revision: last, live: true, contents: next }
  }

  const sets = (service: string): Stream.Stream<SeenSet, EtcdError> =>
    Stream.unwrap(Effect.map(fiveTimes(read(service)), (first) => {
      let known: SeenSet = first
      let from = name === "naive" ? undefined : first.revision + 1n
      const again = Stream.suspend(() => {
        const start = from === undefined ? {} : { startRevision: from }
        from = undefined
        return etcd.watch({ ...prefix(`${namespace}/${service}/`), ...start })
      }).pipe(
        Stream.filter(({ _tag }) => _tag === "Events"),
        Stream.mapEffect((response) => {
          if (name === "naive") return read(service)
          known = believe(service, known, response)
          return Effect.succeed(known)
        }),
        // Long enough to miss what other clients write as soon as they are connected again, on a slow machine, too.
        Stream.catch(() => Stream.fromEffectDrain(Effect.sleep("1 second"))),
        Stream.forever
      )
      return Stream.concat(Stream.succeed(first), again)
    }))

  return Effect.succeed({
    register: Effect.fnUntraced(function* ({ endpoint, id, owner, service, ttl }) {
      const key = `${namespace}/${service}/${id}`
      let round = 0
      let lease = 0n
      const put = Effect.suspend(() =>
        etcd.put({
          key,
          lease,
          value: JSON.stringify({
            id,
            name: service,
            endpoints: [endpoint],
            metadata: { owner, round: String(round) },
            weight: 1,
            status: "up"
          })
        })
      )
      const claim = Effect.gen(function* () {
        lease = (yield* etcd.leaseGrant({ ttl })).id
        yield* put
      })
      const beat = Effect.suspend(() => etcd.leaseKeepAlive({ id: lease })).pipe(
        Effect.catchIf(({ reason }) => name === "naive" && reason._tag === "LeaseNotFound", () => claim)
      )
      yield* fiveTimes(claim)
      yield* Effect.addFinalizer(() => Effect.ignore(fiveTimes(etcd.leaseRevoke(lease))))
      yield* Effect.forever(Effect.andThen(Effect.sleep(`${ttl / 3} seconds`), fiveTimes(beat))).pipe(
        Effect.ignore,
        Effect.forkScoped
      )
      return {
        update: (next) =>
          Effect.suspend(() => {
            round = next
            return Effect.asVoid(fiveTimes(put))
          }),
        statuses: Stream.empty,
        lease: Effect.sync(() => lease)
      }
    }),
    sets,
    changes: (service) =>
      Stream.mapAccum(sets(service), (): SeenSet["contents"] => new Map(), (before, { contents }) => {
        const changes: Array<SeenChange> = []
        for (const [id, content] of contents) {
          const known = before.get(id)
          if (known !== content) changes.push({ change: known === undefined ? "Added" : "Updated", id, content })
        }
        for (const [id, content] of before) if (!contents.has(id)) changes.push({ change: "Removed", id, content })
        return [contents, changes] as const
      })
  })
}
