/**
 * Our reading of etcd's answers beside that of `etcd3`, on random messages.
 *
 * @module
 */
import { Effect } from "effect"
import { Etcd3 } from "etcd3"
import assert from "node:assert/strict"
import { Buffer } from "node:buffer"
import { decode } from "../../src/etcd/grpc/messages.ts"
import { describe, live } from "../harness/it.ts"

interface Definition {
  readonly originalName: string
  readonly responseSerialize: (message: object) => Uint8Array
  readonly responseDeserialize: (bytes: Uint8Array) => unknown
}

/** With the pool in reach that has the generated stubs. */
class Stubs extends Etcd3 {
  async definition(service: "KV" | "Lease" | "Watch", name: string): Promise<Definition> {
    const { constructor } = await this.pool.withConnection(service, ({ client }) => client)
    const { service: methods } = constructor as unknown as { readonly service: Readonly<Record<string, Definition>> }
    const found = Object.values(methods).find(({ originalName }) => originalName === name)
    assert.ok(found !== undefined, `${service}.${name}`)
    return found
  }
}

const limits = [
  0n,
  1n,
  127n,
  128n,
  300n,
  2n ** 31n,
  2n ** 32n,
  2n ** 49n - 1n,
  2n ** 49n,
  2n ** 53n,
  2n ** 56n,
  2n ** 63n - 1n
]

/** The messages of one run: every value that the seed makes of these, next to each other. */
const random = (seed: number) => {
  let state = seed
  const below = (limit: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor(state / 2 ** 31 * limit)
  }
  const unsigned = () => limits[below(limits.length)] ?? 0n
  const signed = () => below(3) === 0 ? -unsigned() - 1n : unsigned()
  const bytes = () => Buffer.from(Array.from({ length: below(4) === 0 ? 200 : below(5) }, () => below(256)))
  const kv = () => ({
    key: bytes(),
    value: bytes(),
    create_revision: String(signed()),
    mod_revision: String(signed()),
    version: String(signed()),
    lease: String(signed())
  })
  const header = () => ({
    cluster_id: String(below(2) === 0 ? 2n ** 64n - 1n : unsigned()),
    member_id: String(unsigned()),
    revision: String(signed()),
    raft_term: String(unsigned())
  })
  const many = <A>(make: () => A): ReadonlyArray<A> => Array.from({ length: below(4) }, make)
  return { below, signed, kv, header, many }
}

/** A value in the words of `etcd3`: bytes as hex, integers as text, what is not there left out. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex")
  if (typeof value === "bigint" || typeof value === "number") return String(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).filter(([, member]) => member !== null && member !== undefined).map(([name, member]) => [
      name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      plain(member)
    ])
  )
}

describe("the answers of etcd, read by hand", () => {
  live("range, txn and watch say what etcd3 reads in the same bytes", () =>
    Effect.gen(function* () {
      const stubs = yield* Effect.acquireRelease(
        Effect.sync(() => new Stubs({ hosts: "127.0.0.1:1" })),
        (stubs) => Effect.sync(() => stubs.close())
      )
      const definition = (service: "KV" | "Watch", name: string) =>
        Effect.promise(() => stubs.definition(service, name))
      const range = yield* definition("KV", "range")
      const txn = yield* definition("KV", "txn")
      const watch = yield* definition("Watch", "watch")
      for (let seed = 1; seed <= 300; seed++) {
        const { below, header, kv, many, signed } = random(seed)
        const rangeMessage = () => ({ header: header(), kvs: many(kv), more: below(2) === 0, count: String(signed()) })

        const rangeBytes = range.responseSerialize(rangeMessage())
        assert.deepEqual(plain(decode.range(rangeBytes)), plain(range.responseDeserialize(rangeBytes)), `seed ${seed}`)

        const watchBytes = watch.responseSerialize({
          header: header(),
          watch_id: String(below(2) === 0 ? -1 : below(1000)),
          created: below(2) === 0,
          canceled: below(2) === 0,
          compact_revision: String(signed()),
          cancel_reason: below(2) === 0 ? "" : "etcdserver: “gone”",
          fragment: below(2) === 0,
          events: many(() => ({ type: below(2), kv: kv(), ...(below(2) === 0 ? { prev_kv: kv() } : {}) }))
        })
        const watched = decode.watch(watchBytes)
        const events = watched.events.map((event) => ({ ...event, type: event.type === "put" ? "Put" : "Delete" }))
        assert.deepEqual(plain({ ...watched, events }), plain(watch.responseDeserialize(watchBytes)), `seed ${seed}`)

        const txnBytes = txn.responseSerialize({
          header: header(),
          succeeded: below(2) === 0,
          responses: many(() => {
            const which = below(4)
            if (which === 0) return { response_range: rangeMessage() }
            if (which === 1) return { response_put: { header: header(), ...(below(2) === 0 ? { prev_kv: kv() } : {}) } }
            if (which === 2) {
              return { response_delete_range: { header: header(), deleted: String(signed()), prev_kvs: many(kv) } }
            }
            return {
              response_txn: { header: header(), succeeded: true, responses: [{ response_range: rangeMessage() }] }
            }
          })
        })
        const fields = {
          Range: "response_range",
          Put: "response_put",
          DeleteRange: "response_delete_range",
          Txn: "response_txn"
        }
        const inWordsOfEtcd3 = (response: ReturnType<typeof decode.txn>): object => ({
          ...response,
          responses: response.responses.map((op) => ({
            response: fields[op._tag],
            [fields[op._tag]]: op._tag === "Txn" ? inWordsOfEtcd3(op.response) : op.response
          }))
        })
        assert.deepEqual(
          plain(inWordsOfEtcd3(decode.txn(txnBytes))),
          plain(txn.responseDeserialize(txnBytes)),
          `seed ${seed}`
        )
      }
    }))

  live("an answer that is cut off is refused, wherever that is", () =>
    Effect.gen(function* () {
      const stubs = new Stubs({ hosts: "127.0.0.1:1" })
      const range = yield* Effect.promise(() => stubs.definition("KV", "range"))
      stubs.close()
      const { header, kv } = random(7)
      const whole = range.responseSerialize({ header: header(), kvs: [kv()], more: true, count: "1" })
      const readable = Array.from(whole, (_, length) => length).filter((length) => {
        try {
          decode.range(whole.subarray(0, length))
          return true
        } catch {
          return false
        }
      })
      const { kvs } = decode.range(whole)
      // Only between two fields of the outermost message does it look like a shorter one.
      assert.equal(kvs.length, 1)
      assert.deepEqual(readable.length, 4)
    }))
})
