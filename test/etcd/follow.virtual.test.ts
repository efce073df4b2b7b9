import { Duration, Effect, Exit, Schedule } from "effect"
import assert from "node:assert/strict"
import { AsyncLocalStorage } from "node:async_hooks"
import { EtcdError, Unavailable } from "../../src/etcd/EtcdError.ts"
import { follow } from "../../src/etcd/follow.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { describe } from "../harness/it.ts"
import { elapse, start, verify } from "../harness/virtual.ts"

const unavailable = new EtcdError({ reason: new Unavailable({ detail: "down" }), method: "range" })

describe("follow", () => {
  verify(
    "each attempt of follow starts in the same async scope, so that no chain of scopes grows in an outage",
    () =>
      Effect.gen(function* () {
        const storage = new AsyncLocalStorage<number>()
        const found: Array<number | undefined> = []
        const etcd = yield* EtcdMemory.make()
        const range = Effect.suspend(() => {
          found.push(storage.getStore())
          storage.enterWith(found.length)
          return Effect.fail(unavailable)
        })
        const options = {
          range: { key: "/a/b" },
          progressEvery: Duration.seconds(10),
          progressTimeout: Duration.seconds(5),
          retry: Schedule.spaced("1 second")
        }
        yield* start(follow({ ...etcd, range: () => range }, options, () => Effect.void))
        yield* elapse("3500 millis")
        assert.deepEqual(found, [undefined, undefined, undefined, undefined])
      })
  )

  verify(
    "follow fails once a finite retry has ended, even if each attempt takes longer than a healthy watch",
    () =>
      Effect.gen(function* () {
        const etcd = yield* EtcdMemory.make()
        let attempts = 0
        const range = Effect.suspend(() => {
          attempts += 1
          return Effect.delay(Effect.fail(unavailable), "30 seconds")
        })
        const options = {
          range: { key: "/a/b" },
          progressEvery: Duration.seconds(10),
          progressTimeout: Duration.seconds(5),
          retry: Schedule.recurs(2)
        }
        const following = yield* start(follow({ ...etcd, range: () => range }, options, () => Effect.void))
        yield* elapse("10 minutes")
        assert.deepEqual(following.exit(), Exit.fail(unavailable))
        assert.equal(attempts, 3)
      })
  )
})
