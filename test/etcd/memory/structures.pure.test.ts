/*
 * The data structures of the engine, each compared with the simplest equivalent.
 */
import { Arbitrary, Effect, Schema } from "effect"
import { Deadline, Deadlines } from "../../../src/internal/time/Deadlines.ts"
import * as IntervalTree from "../../../src/etcd/memory/IntervalTree.ts"
import { fromText, type Interval, interval, isPoint, toText } from "../../../src/etcd/memory/keys.ts"
import { SortedIndex } from "../../../src/etcd/memory/SortedIndex.ts"
import { describe, live } from "../../harness/it.ts"
import assert from "node:assert/strict"
import { Buffer } from "node:buffer"

const holdsFor = <S extends Schema.Constraint>(schema: S, runs: number, property: (value: S["Type"]) => void) =>
  Effect.map(
    Arbitrary.checkEffect(
      Arbitrary.schema(schema),
      (value) => Effect.as(Effect.try({ try: () => property(value), catch: (error) => error }), true),
      { runs, seed: 7, size: 60 }
    ),
    (result) => assert.equal(Arbitrary.formatCheckFailure(result), undefined)
  )

const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Key = Schema.String.check(Schema.isPattern(/^[a-c]{0,3}$/))

describe("toText", () => {
  live(
    "toText keeps bytes and their order",
    () =>
      holdsFor(Schema.Struct({ self: Schema.Array(Byte), that: Schema.Array(Byte) }), 300, ({ self, that }) => {
        const [a, b] = [toText(new Uint8Array(self)), toText(new Uint8Array(that))]
        assert.deepEqual([...fromText(a)], self)
        assert.equal(Math.sign(Buffer.compare(Buffer.from(self), Buffer.from(that))), a < b ? -1 : a > b ? 1 : 0)
      })
  )

  live("toText of a string equals toText of its UTF-8 bytes", () =>
    holdsFor(Schema.String, 300, (string) => {
      const bytes = new TextEncoder().encode(string)
      assert.equal(toText(string), toText(bytes))
      assert.deepEqual(fromText(toText(string)), bytes)
    }))

  live("toText converts more bytes than a function can take as arguments", () =>
    Effect.sync(() => {
      const bytes = new Uint8Array(1_000_000).fill(0xe9)
      assert.deepEqual(fromText(toText(bytes)), bytes)
    }))
})

describe("isPoint", () => {
  live("isPoint distinguishes the interval of one key from others", () =>
    Effect.sync(() => {
      assert.ok(isPoint(interval({ key: "a" })) && isPoint(interval({ key: "a", rangeEnd: "a\0" })))
      for (const rangeEnd of ["\0", "b", "ab", "a\0\0", "b\0"]) assert.ok(!isPoint(interval({ key: "a", rangeEnd })))
    }))
})

describe("SortedIndex", () => {
  const Change = Schema.Struct({
    remove: Schema.Boolean,
    number: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4_000 }))
  })
  const keyOf = (number: number) => String(number).padStart(4, "0")

  live("SortedIndex equals a sorted array through splits and merges of its blocks", () =>
    Effect.sync(() => {
      const index = new SortedIndex<{ readonly key: string }>()
      const model = new Set<string>()
      const walk = (start: string, end: string) => {
        const keys: Array<string> = []
        index.forEach({ start, end }, ({ key }) => keys.push(key))
        return keys
      }
      // Grows to 4,001 keys in a scattered order, then shrinks to a few.
      for (let i = 0; i < 12_000; i++) {
        const key = keyOf((i * 1_237) % 4_001)
        if (i < 8_000 ? (i * 7) % 11 < 3 : i % 50 !== 0) {
          index.remove(key)
          model.delete(key)
        } else if (!model.has(key)) {
          index.insert({ key })
          model.add(key)
        }
        if (i % 500 !== 0) continue
        const sorted = [...model].sort()
        assert.deepEqual(walk("", "9"), sorted)
        assert.deepEqual(walk("1000", "2500"), sorted.filter((key) => key >= "1000" && key < "2500"))
        assert.equal(index.size, model.size)
        assert.deepEqual([index.get(key)?.key, index.get("x")], [model.has(key) ? key : undefined, undefined])
      }
    }))

  live(
    "SortedIndex equals a sorted array after random changes",
    () =>
      holdsFor(Schema.Array(Change), 300, (changes) => {
        const index = new SortedIndex<{ readonly key: string }>()
        const model = new Set<string>()
        for (const { number, remove } of changes) {
          const key = keyOf(number % 20)
          if (remove) {
            index.remove(key)
            model.delete(key)
          } else if (!model.has(key)) {
            index.insert({ key })
            model.add(key)
          }
        }
        const keys: Array<string> = []
        index.forEach({ start: "0003", end: "0015" }, ({ key }) => keys.push(key))
        assert.deepEqual(keys, [...model].sort().filter((key) => key >= "0003" && key < "0015"))
      })
  )
})

describe("IntervalTree", () => {
  const Change = Schema.Struct({ remove: Schema.Boolean, start: Key, end: Key })

  live(
    "IntervalTree finds the intervals that contain a key, as a list does",
    () =>
      holdsFor(Schema.Struct({ changes: Schema.Array(Change), key: Key }), 1_000, ({ changes, key }) => {
        let tree: IntervalTree.IntervalTree<Interval> = undefined
        const model = new Map<string, Interval>()
        for (const { end, remove, start } of changes) {
          const name = `${start}-${end}`
          tree = remove ? IntervalTree.remove(tree, { start, end }) : IntervalTree.insert(tree, { start, end })
          if (remove) model.delete(name)
          else model.set(name, { start, end })
          assert.deepEqual(IntervalTree.find(tree, { start, end }), model.get(name))
        }
        const found: Array<string> = []
        IntervalTree.forEachHolding(tree, key, ({ end, start }) => found.push(`${start}-${end}`))
        const expected = [...model.values()].filter(({ end, start }) => start <= key && key < end)
        assert.deepEqual(found.sort(), expected.map(({ end, start }) => `${start}-${end}`).sort())
      })
  )

  live("IntervalTree stays balanced if intervals arrive in order", () =>
    Effect.sync(() => {
      let tree: IntervalTree.IntervalTree<Interval> = undefined
      for (let i = 0; i < 10_000; i++) {
        const start = String(i).padStart(5, "0")
        tree = IntervalTree.insert(tree, { start, end: `${start}~` })
      }
      assert.ok(tree !== undefined && tree.height <= 19)
    }))
})

describe("Deadlines", () => {
  const Change = Schema.Struct({
    deadline: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 })),
    at: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 })))
  })

  live(
    "Deadlines run in order of time, and in order of setting for equal times",
    () =>
      holdsFor(Schema.Array(Change), 1_000, (changes) => {
        const deadlines = new Deadlines()
        const due: Array<number> = []
        const all = Array.from({ length: 10 }, (_, i) => new Deadline(() => due.push(i)))
        const model = new Map<number, number>()
        for (const { at, deadline: i } of changes) {
          const deadline = all[i]
          if (deadline === undefined) continue
          model.delete(i)
          if (at === undefined) deadlines.delete(deadline)
          else {
            deadlines.set(deadline, at)
            model.set(i, at)
          }
        }
        const expected = [...model].sort(([, self], [, that]) => self - that)
        assert.equal(deadlines.earliest, expected[0]?.[1])
        deadlines.run(10)
        assert.deepEqual(due, expected.filter(([, at]) => at <= 10).map(([i]) => i))
        deadlines.run(20)
        assert.deepEqual(due, expected.map(([i]) => i))
        assert.equal(deadlines.earliest, undefined)
      })
  )

  live("Deadlines can be set again while they run", () =>
    Effect.sync(() => {
      const deadlines = new Deadlines()
      const times: Array<number> = []
      const every: Deadline = new Deadline((now) => {
        times.push(now)
        deadlines.set(every, every.at + 10)
      })
      deadlines.set(every, 10)
      deadlines.run(9)
      deadlines.run(35)
      assert.deepEqual([times, deadlines.earliest], [[35, 35, 35], 40])
    }))
})
