import { Effect, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Maintenance } from "../../src/admin/mod.ts"
import { verified } from "../../src/admin/snapshot.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { rangeAll } from "../../src/etcd/rangeAll.ts"
import { eachEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, effect, live } from "../harness/it.ts"
import { connected, refusalOf } from "./support.ts"

const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "snapshot-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(chunks))

/** Writes some megabytes in many revisions. */
const fill = Effect.gen(function* () {
  const { put } = yield* Etcd
  const value = "x".repeat(100_000)
  yield* Effect.forEach(
    Array.from({ length: 40 }, (_, index) => index),
    (index) => put({ key: `/data/${index % 10}`, value: `${index}${value}` })
  )
})

describe("Maintenance", () => {
  eachEtcd((version) => {
    live("Maintenance.snapshot restores to the same keys, revisions and leases", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const file = join(yield* folder, "db")
        const read = Effect.flatMap(Etcd, (etcd) => rangeAll(etcd, prefix("")))
        const use = connected({ endpoints: [server.endpoint] })
        const before = yield* Effect.andThen(fill, read).pipe(use)
        const chunks = yield* Stream.runCollect(Maintenance.snapshot(server.endpoint)).pipe(use)
        assert.ok(chunks.length > 10)
        writeFileSync(file, concat(chunks))
        yield* server.stop
        yield* server.wipe
        yield* server.restore(file)
        yield* server.start
        const after = yield* read.pipe(use)
        assert.deepEqual(after.kvs, before.kvs)
      }))

    live("Maintenance.snapshot stops the transfer when its reader stops", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          yield* fill
          const [first] = yield* Stream.runCollect(Stream.take(Maintenance.snapshot(server.endpoint), 1))
          assert.ok(first !== undefined && first.length > 0)
          yield* Maintenance.status(server.endpoint)
        }).pipe(connected({ endpoints: [server.endpoint] }))
      }))

    live("Maintenance.defragment frees the space of compacted revisions", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          const etcd = yield* Etcd
          yield* fill
          const { header } = yield* etcd.status
          yield* etcd.compact({ revision: header.revision, physical: true })
          const before = yield* Maintenance.status(endpoint)
          yield* Maintenance.defragment(endpoint)
          const after = yield* Maintenance.status(endpoint)
          assert.ok(after.dbSize < before.dbSize / 2n, `${before.dbSize} bytes, then ${after.dbSize}`)
        }).pipe(connected({ endpoints: [endpoint] }))
      }))

    live("Maintenance.hashKv hashes the keys up to a revision, and hash the whole file", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          const etcd = yield* Etcd
          const { header: { revision } } = yield* etcd.put({ key: "a", value: "1" })
          const first = yield* Maintenance.hashKv(endpoint)
          assert.deepEqual([first.revision, first.hash > 0], [revision, true])
          yield* etcd.put({ key: "a", value: "2" })
          assert.deepEqual(yield* Maintenance.hashKv(endpoint, { revision }), first)
          assert.notEqual((yield* Maintenance.hashKv(endpoint)).hash, first.hash)
          assert.ok((yield* Maintenance.hash(endpoint)) > 0)
        }).pipe(connected({ endpoints: [endpoint] }))
      }))

    live("Maintenance.downgrade validates a version against the cluster's version", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          const validate = Maintenance.downgrade({ action: "validate", version: "2.3.0" })
          const expected = version.startsWith("3.4.") ? "Unimplemented" : "InvalidArgument"
          assert.deepEqual(yield* refusalOf(validate), ["downgrade", expected])
          if (version.startsWith("3.4.")) return
          const [major, minor] = version.split(".").map(Number)
          const before = `${major}.${(minor ?? 0) - 1}.0`
          assert.equal(
            yield* Maintenance.downgrade({ action: "validate", version: before }),
            `${major}.${minor}.0`
          )
        }).pipe(connected({ endpoints: [endpoint] }))
      }))
  })
})

describe("Maintenance.snapshot's checksum", () => {
  const data = new Uint8Array(1000).map((_, index) => index)
  const whole = concat([data, createHash("sha256").update(data).digest()])
  const pieces = (bytes: Uint8Array, size: number): Stream.Stream<Uint8Array> =>
    Stream.fromArray(
      Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size))
    )

  for (const size of [1, 31, 32, 33, 1000, 2000]) {
    effect(`snapshot accepts data in pieces of ${size} bytes`, () =>
      Effect.gen(function* () {
        const chunks = yield* Stream.runCollect(verified(pieces(whole, size), "http://127.0.0.1:2379"))
        assert.deepEqual(concat(chunks), whole)
      }))
  }

  const damaged = whole.slice()
  damaged[500]! ^= 1
  const broken = { "with a changed byte": damaged, "cut off": whole.subarray(0, 900), "empty": new Uint8Array() }
  for (const [title, bytes] of Object.entries(broken)) {
    effect(`snapshot fails if it is ${title}, before it emits the checksum`, () =>
      Effect.gen(function* () {
        const chunks: Array<Uint8Array> = []
        const error = yield* Effect.flip(Stream.runForEach(
          verified(pieces(bytes, 64), "http://127.0.0.1:2379"),
          (chunk) => Effect.sync(() => chunks.push(chunk))
        ))
        assert.deepEqual([error.method, error.reason._tag], ["snapshot", "Unknown"])
        assert.equal(concat(chunks).length, Math.max(0, bytes.length - 32))
      }))
  }
})
