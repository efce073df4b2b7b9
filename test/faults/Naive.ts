/**
 * A client as it is often written, to show that the suite finds out what is wrong with it. Nobody should use it.
 *
 * - It registers with a grant and a put, sends heartbeats, tries five times and then gives up without a word.
 * - It discovers by watching from now on and reading everything again on each event. Where the watch breaks it watches
 *   from now on again. It does not know that it does not know.
 * - When the lease is lost it puts the key again under a new one, whoever holds it by then.
 *
 * @module
 */
import { Effect, Schedule, Stream } from "effect"
import { type Etcd, prefix } from "../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import { contentOf, type SeenSet } from "./History.ts"
import type { Client, SeenChange } from "./Subject.ts"

const retries = 5
const text = new TextDecoder()

const fiveTimes = <A>(effect: Effect.Effect<A, EtcdError>): Effect.Effect<A, EtcdError> =>
  Effect.retry(effect, { times: retries, schedule: Schedule.spaced("100 millis") })

export const connectNaive = (etcd: Etcd, namespace: string): Effect.Effect<Client> => {
  const read = Effect.fnUntraced(function* (service: string) {
    const start = `${namespace}/${service}/`
    const { header, kvs } = yield* etcd.range(prefix(start))
    const contents = new Map<string, string>()
    for (const { key, value } of kvs) {
      try {
        contents.set(text.decode(key).slice(start.length), contentOf(JSON.parse(text.decode(value))))
      } catch {
        // somebody else's
      }
    }
    return { revision: header.revision, live: true, contents }
  })

  const sets = (service: string): Stream.Stream<SeenSet, EtcdError> => {
    const again = etcd.watch(prefix(`${namespace}/${service}/`)).pipe(
      Stream.filter(({ _tag }) => _tag === "Events"),
      Stream.mapEffect(() => read(service)),
      // It goes on watching, for some time.
      Stream.catch(() => Stream.fromEffectDrain(Effect.sleep("200 millis"))),
      Stream.forever
    )
    return Stream.concat(Stream.fromEffect(fiveTimes(read(service))), again)
  }

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
        Effect.catchIf(({ reason }) => reason._tag === "LeaseNotFound", () => claim)
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
