/**
 * Compares our codecs with those of `etcd3` on random messages.
 *
 * @module
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire"
import { Effect } from "effect"
import { Etcd3 } from "etcd3"
import assert from "node:assert/strict"
import { Buffer } from "node:buffer"
import { toBytes } from "../../../src/etcd/KeyRange.ts"
import type {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest
} from "../../../src/etcd/messages/kv.ts"
import type { WatchRequest } from "../../../src/etcd/messages/watch.ts"
import { encodeAuthenticate } from "../../../src/etcd/grpc/messages/auth.ts"
import { decodeMemberList, encodeMemberList } from "../../../src/etcd/grpc/messages/cluster.ts"
import {
  decodeRange,
  decodeTxn,
  encodeCompact,
  encodeDeleteRange,
  encodePut,
  encodeRange,
  encodeTxn
} from "../../../src/etcd/grpc/messages/kv.ts"
import {
  encodeLeaseGrant,
  encodeLeaseKeepAlive,
  encodeLeaseRevoke,
  encodeLeaseTimeToLive
} from "../../../src/etcd/grpc/messages/lease.ts"
import { decodeAlarms, decodeStatus } from "../../../src/etcd/grpc/messages/maintenance.ts"
import {
  decodeWatch,
  encodeSilentWatch,
  encodeWatch,
  encodeWatchCancel,
  encodeWatchCreate,
  encodeWatchProgress
} from "../../../src/etcd/grpc/messages/watch.ts"
import { encodeNothing } from "../../../src/etcd/grpc/messages/wire.ts"
import { describe, live } from "../../harness/it.ts"

interface Definition {
  readonly originalName: string
  readonly requestDeserialize: (bytes: Uint8Array) => unknown
  readonly responseSerialize: (message: object) => Uint8Array
  readonly responseDeserialize: (bytes: Uint8Array) => unknown
}

type Service = "Auth" | "Cluster" | "KV" | "Lease" | "Maintenance" | "Watch"

/** Gives access to the pool with the generated stubs. */
class Stubs extends Etcd3 {
  async definition(service: Service, name: string): Promise<Definition> {
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

/** The messages of one run, made from the seed. */
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
  return { below, signed, bytes, kv, header, many }
}

const capital = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1)

/** A request, and the message that `etcd3` must read from it. */
type Asked<Request> = readonly [request: Request, message: object]

/** The same for requests. */
const randomRequests = (seed: number) => {
  const { below, bytes, many, signed } = random(seed)
  const pick = <A>(first: A, ...others: ReadonlyArray<A>): A => others[below(others.length + 1)] ?? first
  const bool = () => below(2) === 0
  const safe = limits.filter((value) => value <= Number.MAX_SAFE_INTEGER)
  const whole = () => (below(3) === 0 ? -1 : 1) * Number(pick(0n, ...safe))
  const text = () => pick("", "/services/orders/", "ключ “𝄞”", "x".repeat(127), "x".repeat(128))
  const key = () => bool() ? text() : bytes()
  const value = () => below(20) === 0 ? new Uint8Array(20_000).fill(below(256)) : key()
  /** Each of the fields, or not. */
  const some = <Fields extends object>(fields: Fields): Partial<Fields> =>
    Object.fromEntries(Object.entries(fields).filter(bool)) as Partial<Fields>
  const keyRange = () => ({ key: key(), ...some({ rangeEnd: key() }) })

  const range = (): Asked<RangeRequest> => {
    const request: RangeRequest = {
      ...keyRange(),
      ...some({
        limit: whole(),
        revision: signed(),
        sort: {
          target: pick<"key" | "version" | "create" | "mod" | "value">("key", "version", "create", "mod", "value"),
          order: pick<"ascend" | "descend">("ascend", "descend")
        },
        serializable: bool(),
        keysOnly: bool(),
        countOnly: bool(),
        minModRevision: signed(),
        maxModRevision: signed(),
        minCreateRevision: signed(),
        maxCreateRevision: signed()
      })
    }
    const { sort, ...rest } = request
    return [request, {
      limit: 0,
      revision: 0,
      serializable: false,
      keysOnly: false,
      countOnly: false,
      minModRevision: 0,
      maxModRevision: 0,
      minCreateRevision: 0,
      maxCreateRevision: 0,
      ...rest,
      key: toBytes(request.key),
      rangeEnd: toBytes(request.rangeEnd ?? ""),
      sortTarget: capital(sort?.target ?? "key"),
      sortOrder: capital(sort?.order ?? "none")
    }]
  }

  const put = (): Asked<PutRequest> => {
    const request: PutRequest = {
      key: key(),
      value: value(),
      ...some({ lease: signed(), prevKv: bool(), ignoreValue: bool(), ignoreLease: bool() })
    }
    return [request, {
      lease: 0,
      prevKv: false,
      ignoreValue: false,
      ignoreLease: false,
      ...request,
      key: toBytes(request.key),
      value: toBytes(request.value)
    }]
  }

  const deleteRange = (): Asked<DeleteRangeRequest> => {
    const request: DeleteRangeRequest = { ...keyRange(), ...some({ prevKv: bool() }) }
    return [request, {
      prevKv: false,
      ...request,
      key: toBytes(request.key),
      rangeEnd: toBytes(request.rangeEnd ?? "")
    }]
  }

  const compare = (): Asked<Compare> => {
    const condition = {
      ...keyRange(),
      result: pick<Compare["result"]>("equal", "notEqual", "greater", "less")
    }
    const target = pick<Compare["target"]>("version", "create", "mod", "lease", "value")
    const request: Compare = target === "value" ?
      { ...condition, target, value: value() } :
      { ...condition, target, value: signed() }
    const field = target === "create" || target === "mod" ? `${target}_revision` : target
    return [request, {
      key: toBytes(request.key),
      rangeEnd: toBytes(request.rangeEnd ?? ""),
      result: capital(request.result),
      target: capital(target),
      targetUnion: field,
      [field]: request.target === "value" ? toBytes(request.value) : request.value
    }]
  }

  const operation = (depth: number): Asked<RequestOp> => {
    const which = below(depth === 0 ? 3 : 4)
    if (which === 0) {
      const [request, message] = range()
      return [{ _tag: "Range", request }, { request: "request_range", requestRange: message }]
    }
    if (which === 1) {
      const [request, message] = put()
      return [{ _tag: "Put", request }, { request: "request_put", requestPut: message }]
    }
    if (which === 2) {
      const [request, message] = deleteRange()
      return [{ _tag: "DeleteRange", request }, { request: "request_delete_range", requestDeleteRange: message }]
    }
    const [request, message] = txn(depth - 1)
    return [{ _tag: "Txn", request }, { request: "request_txn", requestTxn: message }]
  }

  const txn = (depth: number): Asked<TxnRequest> => {
    const operations = () => many(() => operation(depth))
    const parts = some({ compare: many(compare), then: operations(), else: operations() })
    const requests = <A>(asked: ReadonlyArray<Asked<A>>) => asked.map(([request]) => request)
    const messages = <A>(asked: ReadonlyArray<Asked<A>> = []) => asked.map(([, message]) => message)
    return [{
      ...(parts.compare === undefined ? {} : { compare: requests(parts.compare) }),
      ...(parts.then === undefined ? {} : { then: requests(parts.then) }),
      ...(parts.else === undefined ? {} : { else: requests(parts.else) })
    }, { compare: messages(parts.compare), success: messages(parts.then), failure: messages(parts.else) }]
  }

  const watch = (): Asked<WatchRequest> => {
    const request: WatchRequest = {
      key: pick<string | Uint8Array>("a", "x".repeat(128), new Uint8Array([0])),
      ...some({
        rangeEnd: key(),
        startRevision: signed(),
        prevKv: bool(),
        filters: many(() => pick<"noPut" | "noDelete">("noPut", "noDelete"))
      })
    }
    return [request, {
      startRevision: 0,
      prevKv: false,
      ...request,
      key: toBytes(request.key),
      rangeEnd: toBytes(request.rangeEnd ?? ""),
      filters: (request.filters ?? []).map((name) => capital(name.toLowerCase())),
      progressNotify: true,
      fragment: true
    }]
  }

  return { bool, text, signed, whole, range, put, deleteRange, txn, watch }
}

/** A value in the form of `etcd3`: bytes as hex, integers as text, missing members left out. */
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

/** The codec of `etcd3` for the messages of a method. */
const definitions = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => new Stubs({ hosts: "127.0.0.1:1" })),
    (stubs) => Effect.sync(() => stubs.close())
  ),
  (stubs) => (service: Service, name: string) => Effect.promise(() => stubs.definition(service, name))
)

describe("decode", () => {
  live("decode returns for range, txn and watch what etcd3 reads from the same bytes", () =>
    Effect.gen(function* () {
      const definition = yield* definitions
      const range = yield* definition("KV", "range")
      const txn = yield* definition("KV", "txn")
      const watch = yield* definition("Watch", "watch")
      for (let seed = 1; seed <= 300; seed++) {
        const { below, header, kv, many, signed } = random(seed)
        const rangeMessage = () => ({ header: header(), kvs: many(kv), more: below(2) === 0, count: String(signed()) })

        const rangeBytes = range.responseSerialize(rangeMessage())
        assert.deepEqual(plain(decodeRange(rangeBytes)), plain(range.responseDeserialize(rangeBytes)), `seed ${seed}`)

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
        const watched = decodeWatch(watchBytes)
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
        const inWordsOfEtcd3 = (response: ReturnType<typeof decodeTxn>): object => ({
          ...response,
          responses: response.responses.map((op) => ({
            response: fields[op._tag],
            [fields[op._tag]]: op._tag === "Txn" ? inWordsOfEtcd3(op.response) : op.response
          }))
        })
        assert.deepEqual(
          plain(inWordsOfEtcd3(decodeTxn(txnBytes))),
          plain(txn.responseDeserialize(txnBytes)),
          `seed ${seed}`
        )
      }
    }))

  live(
    "decode returns for members, alarms and status what etcd3 reads from the same bytes",
    () =>
      Effect.gen(function* () {
        const definition = yield* definitions
        const memberList = yield* definition("Cluster", "memberList")
        const alarm = yield* definition("Maintenance", "alarm")
        const status = yield* definition("Maintenance", "status")
        const unsigned = (value: bigint) => String(BigInt.asUintN(64, value))
        for (let seed = 1; seed <= 100; seed++) {
          const { below, header, many, signed } = random(seed)
          const membersBytes = memberList.responseSerialize({
            header: header(),
            members: many(() => ({
              ID: unsigned(signed()),
              name: below(2) === 0 ? "" : "m1",
              peerURLs: many(() => "http://10.0.0.1:2380"),
              clientURLs: many(() => "https://[::1]:2379"),
              isLearner: below(2) === 0
            }))
          })
          const listed = decodeMemberList(membersBytes)
          const members = listed.members.map(({ clientUrls, id, isLearner, name, peerUrls }) => ({
            ID: id,
            name,
            peerURLs: peerUrls,
            clientURLs: clientUrls,
            isLearner
          }))
          const readMembers = memberList.responseDeserialize(membersBytes)
          assert.deepEqual(plain({ ...listed, members }), plain(readMembers), `seed ${seed}`)

          const alarmBytes = alarm.responseSerialize({
            header: header(),
            alarms: many(() => ({ memberID: unsigned(signed()), alarm: 1 + below(2) }))
          })
          const raised = decodeAlarms(alarmBytes)
          const alarms = raised.alarms.map(({ memberId, type }) => ({
            memberID: memberId,
            alarm: type === "nospace" ? "Nospace" : "Corrupt"
          }))
          assert.deepEqual(plain({ ...raised, alarms }), plain(alarm.responseDeserialize(alarmBytes)), `seed ${seed}`)

          const statusBytes = status.responseSerialize({
            header: header(),
            version: "3.5.30",
            dbSize: String(signed()),
            leader: unsigned(signed()),
            raftIndex: unsigned(signed()),
            raftTerm: unsigned(signed()),
            raftAppliedIndex: unsigned(signed()),
            errors: many(() => "etcdserver: no leader"),
            dbSizeInUse: String(signed()),
            isLearner: below(2) === 0
          })
          assert.deepEqual(
            plain(decodeStatus(statusBytes)),
            plain(status.responseDeserialize(statusBytes)),
            `seed ${seed}`
          )
        }
      })
  )

  live("decode reads the fields of status that are newer than etcd3's messages", () =>
    Effect.sync(() => {
      const delimited = (field: number) => field << 3 | WireType.LengthDelimited
      const downgrade = (isEnabled: boolean) => (writer: BinaryWriter) =>
        writer.uint32(delimited(13)).fork().uint32(1 << 3).bool(isEnabled).uint32(delimited(2)).string("3.5.0").join()
      const bytes = (isEnabled: boolean) =>
        downgrade(isEnabled)(
          new BinaryWriter().uint32(delimited(11)).string("3.6.0").uint32(12 << 3).int64(2_147_483_648n)
        ).finish()
      const enabled = decodeStatus(bytes(true))
      assert.deepEqual(
        [enabled.storageVersion, enabled.dbSizeQuota, enabled.downgradeTarget],
        ["3.6.0", 2_147_483_648n, "3.5.0"]
      )
      assert.equal(decodeStatus(bytes(false)).downgradeTarget, undefined)
      assert.deepEqual(Object.keys(decodeStatus(new Uint8Array())).includes("storageVersion"), false)
    }))

  live("decode throws for a truncated message, wherever it ends", () =>
    Effect.gen(function* () {
      const definition = yield* definitions
      const range = yield* definition("KV", "range")
      const { header, kv } = random(7)
      const whole = range.responseSerialize({ header: header(), kvs: [kv()], more: true, count: "1" })
      const readable = Array.from(whole, (_, length) => length).filter((length) => {
        try {
          decodeRange(whole.subarray(0, length))
          return true
        } catch {
          return false
        }
      })
      const { kvs } = decodeRange(whole)
      // Only a cut between two fields of the outermost message leaves a valid message.
      assert.equal(kvs.length, 1)
      assert.deepEqual(readable.length, 4)
    }))
})

describe("encode", () => {
  live("encode writes requests that etcd3 reads back unchanged", () =>
    Effect.gen(function* () {
      const definition = yield* definitions
      const range = yield* definition("KV", "range")
      const put = yield* definition("KV", "put")
      const deleteRange = yield* definition("KV", "deleteRange")
      const txn = yield* definition("KV", "txn")
      const compact = yield* definition("KV", "compact")
      const leaseGrant = yield* definition("Lease", "leaseGrant")
      const leaseRevoke = yield* definition("Lease", "leaseRevoke")
      const leaseKeepAlive = yield* definition("Lease", "leaseKeepAlive")
      const leaseTimeToLive = yield* definition("Lease", "leaseTimeToLive")
      const leaseLeases = yield* definition("Lease", "leaseLeases")
      const watch = yield* definition("Watch", "watch")
      const status = yield* definition("Maintenance", "status")
      const alarm = yield* definition("Maintenance", "alarm")
      const memberList = yield* definition("Cluster", "memberList")
      const authenticate = yield* definition("Auth", "authenticate")
      for (let seed = 1; seed <= 300; seed++) {
        const random = randomRequests(seed)
        const check = ({ originalName, requestDeserialize }: Definition, bytes: Uint8Array, message: object) =>
          assert.deepEqual(plain(requestDeserialize(bytes)), plain(message), `${originalName}, seed ${seed}`)

        const [rangeRequest, rangeMessage] = random.range()
        check(range, encodeRange(rangeRequest), rangeMessage)
        const [putRequest, putMessage] = random.put()
        check(put, encodePut(putRequest), putMessage)
        const [deleteRangeRequest, deleteRangeMessage] = random.deleteRange()
        check(deleteRange, encodeDeleteRange(deleteRangeRequest), deleteRangeMessage)
        const [txnRequest, txnMessage] = random.txn(2)
        check(txn, encodeTxn(txnRequest), txnMessage)
        const [revision, physical] = [random.signed(), random.bool()]
        check(compact, encodeCompact({ revision, physical }), { revision, physical })
        check(compact, encodeCompact({ revision }), { revision, physical: false })

        const [id, ttl, keys] = [random.signed(), random.whole(), random.bool()]
        check(leaseGrant, encodeLeaseGrant({ id, ttl }), { ID: id, TTL: ttl })
        check(leaseGrant, encodeLeaseGrant({ ttl }), { ID: 0, TTL: ttl })
        check(leaseRevoke, encodeLeaseRevoke(id), { ID: id })
        check(leaseKeepAlive, encodeLeaseKeepAlive(id), { ID: id })
        check(leaseTimeToLive, encodeLeaseTimeToLive({ id, keys }), { ID: id, keys })
        check(leaseTimeToLive, encodeLeaseTimeToLive({ id }), { ID: id, keys: false })
        check(leaseLeases, encodeNothing(), {})
        check(status, encodeNothing(), {})
        check(alarm, encodeNothing(), { action: "Get", memberID: 0, alarm: "None" })
        check(memberList, encodeMemberList(keys), { linearizable: keys })

        const [watchRequest, watchMessage] = random.watch()
        const watchId = random.whole()
        const created = (message: object) => ({
          requestUnion: "create_request",
          createRequest: { ...message, watchId }
        })
        check(watch, encodeWatchCreate(encodeWatch(watchRequest), watchId), created(watchMessage))
        check(
          watch,
          encodeWatchCreate(encodeSilentWatch(watchRequest), watchId),
          created({
            key: toBytes(watchRequest.key),
            rangeEnd: toBytes(""),
            startRevision: 0,
            prevKv: false,
            filters: ["Noput", "Nodelete"],
            progressNotify: true,
            fragment: true
          })
        )
        check(watch, encodeWatchCancel(watchId), { requestUnion: "cancel_request", cancelRequest: { watchId } })
        check(watch, encodeWatchProgress(), { requestUnion: "progress_request", progressRequest: {} })

        const [name, password] = [random.text(), random.text()]
        check(authenticate, encodeAuthenticate({ name, password }), { name, password })
      }
    }))

  live("encode writes nested messages of every length", () =>
    Effect.gen(function* () {
      const definition = yield* definitions
      const { requestDeserialize } = yield* definition("KV", "txn")
      const around = (length: number) => Array.from({ length: 32 }, (_, index) => length - 16 + index)
      for (const length of [...around(16), ...around(2 ** 7), ...around(2 ** 14), ...around(2 ** 21)]) {
        const value = new Uint8Array(length).fill(length)
        const compare: Compare = { key: "a", target: "value", result: "less", value }
        const bytes = encodeTxn({ compare: [compare, compare] })
        const read = requestDeserialize(bytes) as { readonly compare: ReadonlyArray<{ readonly value: Uint8Array }> }
        assert.deepEqual(read.compare.map((one) => Buffer.compare(one.value, value)), [0, 0], `${length} bytes`)
      }
    }))

  live("encode omits an empty rangeEnd", () =>
    Effect.sync(() => {
      const range = { key: "a", rangeEnd: "" }
      const compare: Compare = { ...range, target: "version", result: "equal", value: 0n }
      assert.deepEqual([...encodeRange(range)], [10, 1, 97])
      assert.deepEqual([...encodeDeleteRange(range)], [10, 1, 97])
      assert.deepEqual([...encodeWatch(range)], [10, 1, 97, 32, 1, 64, 1])
      assert.deepEqual([...encodeTxn({ compare: [compare] })], [10, 5, 26, 1, 97, 32, 0])
    }))
})
