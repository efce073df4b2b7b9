/**
 * The checks of upstream's tests of `RunnerStorage`, and of further promises. They need neither time nor faults.
 *
 * @module
 */
import { Context, Effect, Layer, type Scope } from "effect"
import { RunnerAddress, RunnerHealth, type ShardId } from "effect/cluster"
import assert from "node:assert/strict"
import { EtcdRunnerHealth } from "../../src/cluster/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { Kv, Op, Txn } from "../../src/kv/mod.ts"
import { ids, keysOf, runner, shards } from "./support.ts"

/** One check. It runs on the engine and on etcd, with a prefix of its own. */
export interface Check {
  /** Stands alone in a log. */
  readonly title: string
  readonly body: (prefix: string) => Effect.Effect<void, unknown, Etcd | Scope.Scope>
}

export const checks: ReadonlyArray<Check> = [
  {
    title: "EtcdRunnerStorage.register returns the lowest free machine id from 1 on, and the same one again",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two, three] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2), runner(prefix, 3)])
        assert.deepEqual([yield* one.register, yield* one.register, yield* two.register], [1, 1, 2])
        yield* one.exit
        assert.deepEqual([yield* three.register, yield* two.register], [1, 2], "number 1 is free again")
      })
  },
  {
    title: "EtcdRunnerStorage.register gives 20 runners that register at once 20 different machine ids",
    body: (prefix) =>
      Effect.gen(function* () {
        const runners = yield* Effect.forEach(Array.from({ length: 20 }, (_, port) => port + 1), (port) =>
          runner(prefix, port))
        const numbers = yield* Effect.all(
          runners.map(({ register }) =>
            register
          ),
          { concurrency: "unbounded" }
        )
        assert.deepEqual(numbers.toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, index) => index + 1))
      })
  },
  {
    title: "EtcdRunnerStorage.register gives a runner that restarts on its address its machine id back",
    body: (prefix) =>
      Effect.gen(function* () {
        const [first, killed] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        assert.deepEqual([yield* first.register, yield* killed.register], [1, 2])
        const restarted = yield* runner(prefix, 2)
        assert.equal(yield* restarted.register, 2)
        assert.equal((yield* first.storage.getRunners).length, 2)
      })
  },
  {
    title: "EtcdRunnerStorage.getRunners lists runners with their health, which any runner can set",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        yield* Effect.all([one.register, two.register])
        const list = Effect.map(one.storage.getRunners, (runners) =>
          runners.map(([{ address, weight }, healthy]) => [address.port, weight, healthy]))
        assert.deepEqual(yield* list, [[1, 1, true], [2, 1, true]])

        const key = `${prefix}runners/localhost:2`
        const { kvs: [before] } = yield* etcd.range({ key })
        yield* one.storage.setRunnerHealth(two.address, false)
        const { kvs: [after] } = yield* etcd.range({ key })
        assert.equal(after?.lease, before?.lease, "it keeps the lease of its own runner")
        assert.deepEqual(yield* list, [[1, 1, true], [2, 1, false]])
        yield* two.storage.setRunnerHealth(two.address, true)
        yield* one.storage.setRunnerHealth(RunnerAddress.make("localhost", 3), false)
        assert.deepEqual(yield* list, [[1, 1, true], [2, 1, true]])

        yield* etcd.put({ key: `${prefix}runners/foreign`, value: "no runner" })
        assert.deepEqual(yield* list, [[1, 1, true], [2, 1, true]])
      })
  },
  {
    title: "EtcdRunnerStorage.unregister removes the runner from the list and keeps its machine id and its shards",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        yield* Effect.all([one.register, two.register])
        yield* one.storage.acquire(one.address, shards(2))
        yield* one.storage.unregister(one.address)
        assert.deepEqual(
          yield* keysOf(prefix),
          ["locks/default:1", "locks/default:2", "machines/1", "machines/2", "runners/localhost:2"]
        )
        assert.deepEqual(yield* two.storage.acquire(two.address, shards(2)), [])
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(2))), [1, 2])
        assert.deepEqual(yield* one.storage.acquire(one.address, shards(3)).pipe(Effect.map(ids)), [1, 2])
      })
  },
  {
    title: "EtcdRunnerStorage.unregister leaves the registration of a successor at the address alone",
    body: (prefix) =>
      Effect.gen(function* () {
        const one = yield* runner(prefix, 1)
        yield* one.register
        const restarted = yield* runner(prefix, 1)
        yield* restarted.register
        yield* one.storage.unregister(one.address)
        assert.equal((yield* restarted.storage.getRunners).length, 1)
        yield* restarted.storage.unregister(one.address)
        assert.equal((yield* restarted.storage.getRunners).length, 0)
      })
  },
  {
    title: "EtcdRunnerStorage.acquire gives each of 300 shards to one runner, also when it is called again",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        assert.deepEqual(ids(yield* one.storage.acquire(one.address, shards(300))), ids(shards(300)))
        assert.deepEqual(ids(yield* one.storage.acquire(one.address, shards(300))), ids(shards(300)))
        assert.deepEqual(yield* two.storage.acquire(two.address, shards(300)), [])
        assert.deepEqual(yield* two.storage.refresh(two.address, shards(300)), [])
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(300))), ids(shards(300)))
      })
  },
  {
    title: "EtcdRunnerStorage.acquire returns no more than it was asked for, reads its shards once, and takes none",
    body: (prefix) =>
      Effect.gen(function* () {
        const one = yield* runner(prefix, 1)
        yield* one.storage.acquire(one.address, shards(3))
        assert.deepEqual(ids(yield* one.storage.acquire(one.address, shards(1))), [1])
        const once = function* (): Generator<ShardId.ShardId> {
          yield* shards(4).slice(2)
        }
        assert.deepEqual(ids(yield* one.storage.acquire(one.address, once())), [3, 4])
        assert.deepEqual(yield* one.storage.acquire(one.address, []), [])
        assert.deepEqual(yield* one.storage.refresh(one.address, once()).pipe(Effect.map(ids)), [3, 4])
      })
  },
  {
    title: "EtcdRunnerStorage.refresh returns what the runner owns of what it asks for, and acquires nothing",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        yield* one.storage.acquire(one.address, shards(3))
        assert.deepEqual(yield* one.storage.refresh(one.address, []), [])
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(5))), [1, 2, 3])
        assert.deepEqual(yield* two.storage.refresh(two.address, shards(5)), [])
        assert.deepEqual(ids(yield* two.storage.acquire(two.address, shards(5))), [4, 5])
      })
  },
  {
    title: "EtcdRunnerStorage.refresh omits a shard that another runner has taken since, also between heartbeats",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const one = yield* runner(prefix, 1)
        yield* one.register
        yield* one.storage.acquire(one.address, shards(3))
        yield* etcd.put({ key: `${prefix}locks/default:2`, value: "localhost:9" })
        assert.deepEqual(yield* one.storage.refresh(one.address, shards(2).slice(1)), [])
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(3))), [1, 3])
      })
  },
  {
    title: "EtcdRunnerStorage.release frees a shard for others, and leaves a shard of another runner alone",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        const [first] = shards(1) as [ShardId.ShardId]
        yield* one.storage.acquire(one.address, shards(2))
        yield* two.storage.release(two.address, first)
        yield* two.storage.release(one.address, first)
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(2))), [1, 2])
        yield* one.storage.release(one.address, first)
        assert.deepEqual(ids(yield* two.storage.acquire(two.address, shards(2))), [1])
        yield* one.storage.release(one.address, first)
        assert.deepEqual(ids(yield* two.storage.refresh(two.address, shards(2))), [1])
      })
  },
  {
    title: "EtcdRunnerStorage.releaseAll frees every shard of its process and no other",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, two, three] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2), runner(prefix, 3)])
        yield* one.storage.acquire(one.address, shards(3))
        yield* two.storage.acquire(two.address, shards(5))
        yield* one.storage.releaseAll(one.address)
        assert.deepEqual(yield* one.storage.refresh(one.address, shards(5)), [])
        assert.deepEqual(ids(yield* three.storage.acquire(three.address, shards(5))), [1, 2, 3])
        yield* one.storage.releaseAll(one.address)
        assert.deepEqual(ids(yield* three.storage.refresh(three.address, shards(5))), [1, 2, 3])
      })
  },
  {
    title: "EtcdRunnerStorage gives a runner that restarts on its address its shards back, and its predecessor none",
    body: (prefix) =>
      Effect.gen(function* () {
        const predecessor = yield* runner(prefix, 1)
        yield* predecessor.register
        yield* predecessor.storage.acquire(predecessor.address, shards(3))
        const restarted = yield* runner(prefix, 1)
        yield* restarted.register
        assert.deepEqual(ids(yield* restarted.storage.acquire(restarted.address, shards(3))), [1, 2, 3])
        assert.deepEqual(yield* predecessor.storage.refresh(predecessor.address, shards(3)), [])
        assert.deepEqual(yield* predecessor.storage.refresh(predecessor.address, shards(101)), [])
        assert.deepEqual(yield* predecessor.storage.acquire(predecessor.address, shards(5)), [], "it was replaced")
        yield* predecessor.storage.releaseAll(predecessor.address)
        yield* predecessor.exit
        assert.deepEqual(ids(yield* restarted.storage.refresh(restarted.address, shards(3))), [1, 2, 3])
        assert.equal((yield* restarted.storage.getRunners).length, 1)
      })
  },
  {
    title: "EtcdRunnerStorage never gives one shard to two runners that acquire, refresh and release at once",
    body: (prefix) =>
      Effect.gen(function* () {
        const runners = yield* Effect.forEach([1, 2, 3], (port) => runner(prefix, port))
        for (let round = 0; round < 8; round++) {
          const lists = yield* Effect.forEach(
            runners,
            ({ address, storage }, index) =>
              Effect.gen(function* () {
                if (index === round % 3) yield* storage.releaseAll(address)
                yield* storage.acquire(address, index === 1 ? shards(12).toReversed() : shards(12))
                return yield* storage.refresh(address, shards(12))
              }),
            { concurrency: "unbounded" }
          )
          // Another runner may release the shard in between. Then it counts for its current owner.
          const now = yield* Effect.forEach(runners, ({ address, storage }) => storage.refresh(address, shards(12)))
          assert.deepEqual(ids(now.flat()), ids(shards(12)), `round ${round}: ${JSON.stringify(lists.map(ids))}`)
        }
      })
  },
  {
    title: "EtcdRunnerStorage keeps clusters with different prefixes apart",
    body: (prefix) =>
      Effect.gen(function* () {
        const [one, other] = yield* Effect.all([runner(`${prefix}a`, 1), runner(`${prefix}ab`, 1)])
        assert.deepEqual([yield* one.register, yield* other.register], [1, 1])
        yield* one.storage.acquire(one.address, shards(2))
        assert.deepEqual(ids(yield* other.storage.acquire(other.address, shards(2))), [1, 2])
        yield* one.exit
        assert.equal((yield* other.storage.getRunners).length, 1)
      })
  },
  {
    title: "EtcdRunnerStorage leaves nothing in etcd when its scope has closed",
    body: (prefix) =>
      Effect.gen(function* () {
        const one = yield* runner(prefix, 1)
        yield* one.register
        yield* one.storage.acquire(one.address, shards(3))
        assert.equal((yield* keysOf(prefix)).length, 5)
        yield* one.exit
        assert.deepEqual(yield* keysOf(prefix), [])
      })
  },
  {
    title: "ShardFence holds in a transaction while the runner owns the shard",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const [one, two] = yield* Effect.all([runner(prefix, 1), runner(prefix, 2)])
        const [first] = shards(1) as [ShardId.ShardId]
        const write = ({ fence }: typeof one) =>
          Effect.gen(function* () {
            const held = yield* fence.fence(first)
            const put = Op.put(`${prefix}data`, "1")
            const { succeeded } = yield* Kv.txn(Txn.make({ if: [held], then: [put] }))
            assert.equal((yield* etcd.txn({ compare: [held] })).succeeded, succeeded)
            return succeeded
          })
        assert.equal(yield* write(one), false)
        yield* one.storage.acquire(one.address, [first])
        assert.deepEqual([yield* write(one), yield* write(two)], [true, false])
        yield* one.storage.release(one.address, first)
        assert.equal(yield* write(one), false)
        yield* two.storage.acquire(two.address, [first])
        assert.deepEqual([yield* write(one), yield* write(two)], [false, true])
      })
  },
  {
    title: "EtcdRunnerHealth counts a runner as alive while its registration exists",
    body: (prefix) =>
      Effect.gen(function* () {
        const one = yield* runner(prefix, 1)
        const context = yield* Layer.build(EtcdRunnerHealth.layer({ prefix }))
        const { isAlive } = Context.get(context, RunnerHealth.RunnerHealth)
        assert.equal(yield* isAlive(one.address), false)
        yield* one.register
        assert.equal(yield* isAlive(one.address), true)
        yield* one.exit
        assert.equal(yield* isAlive(one.address), false)
      })
  },
  {
    title: "EtcdRunnerStorage and EtcdRunnerHealth refuse a prefix without a name before they send anything",
    body: () =>
      Effect.gen(function* () {
        const errors = yield* Effect.all([
          Effect.flip(runner("/", 1)),
          Effect.flip(Layer.build(EtcdRunnerHealth.layer({ prefix: "" })))
        ])
        assert.deepEqual(errors.map((error) => [error._tag, error.option]), Array(2).fill(["InvalidOption", "prefix"]))
      })
  }
]
