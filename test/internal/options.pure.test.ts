import { Duration, Effect, Redacted, Result } from "effect"
import assert from "node:assert/strict"
import { type Check, checkOptions } from "../../src/internal/options.ts"
import { describe, effect } from "../harness/it.ts"

const messageOf = (body: (check: Check) => unknown): string =>
  Result.match(checkOptions("registerService", body), {
    onSuccess: (value) => `accepted ${String(value)}`,
    onFailure: (error) => error.message
  })

const refuses = (title: string, body: (check: Check) => unknown, message: string) =>
  effect(`checkOptions ${title}`, () => Effect.sync(() => assert.equal(messageOf(body), message)))

describe("options", () => {
  effect("checkOptions returns the result of its body if every option is valid", () =>
    Effect.sync(() => {
      const checked = checkOptions("registerService", (check) => ({
        ttl: check.duration("ttl", "15 seconds", { min: Duration.seconds(2) }),
        weight: check.number("weight", 1.5, { min: 0 }),
        claim: check.oneOf("claim", "restart", ["restart", "exclusive"]),
        zone: check.text("zone", "eu-1")
      }))
      assert.deepEqual(
        checked,
        Result.succeed({ ttl: Duration.seconds(15), weight: 1.5, claim: "restart", zone: "eu-1" })
      )
    }))
  refuses(
    "explains that a bare number means milliseconds",
    (check) => check.duration("ttl", 15, { min: Duration.seconds(2) }),
    'cannot call registerService: ttl is 15; it must be a finite duration of at least 2 s, such as "15 seconds"; ' +
      "a bare number means milliseconds"
  )
  refuses(
    "refuses an infinite duration",
    (check) => check.duration("drain", "Infinity", { min: Duration.zero }),
    'cannot call registerService: drain is "Infinity"; it must be a finite duration of 0 or more, such as "15 seconds"'
  )
  refuses(
    "refuses a duration of a nanosecond where a millisecond is the minimum",
    (check) => check.duration("progressEvery", Duration.nanos(1n)),
    'cannot call registerService: progressEvery is 0.000001 ms; it must be a finite duration of at least 1 ms, such as "15 seconds"'
  )
  refuses(
    "names both bounds of a number",
    (check) => check.number("protect.maxLoss", 3, { min: 0, max: 1 }),
    "cannot call registerService: protect.maxLoss is 3; it must be a finite number from 0 to 1"
  )
  refuses(
    "refuses a fraction where a whole number is needed",
    (check) => check.number("healthThreshold", 1.5, { min: 1, whole: true }),
    "cannot call registerService: healthThreshold is 1.5; it must be a whole number of at least 1"
  )
  refuses(
    "shows a bigint in a value",
    (check) => check.refuse("lease", { id: 1n }, "it must be a string"),
    'cannot call registerService: lease is {"id":"1"}; it must be a string'
  )
  refuses(
    "does not show a secret",
    (check) => check.refuse("password", Redacted.make("hunter2"), "it must be a string"),
    'cannot call registerService: password is "<redacted>"; it must be a string'
  )
  refuses(
    "shows the type of a value whose getter throws",
    (check) =>
      check.refuse(
        "metadata",
        Object.defineProperty(Object.create(null), "zone", {
          enumerable: true,
          get: () => {
            throw new Error("a getter threw")
          }
        }),
        "it must be an object"
      ),
    "cannot call registerService: metadata is object; it must be an object"
  )
  effect(
    "checkOptions passes on an exception of its body that is not an InvalidOption",
    () =>
      Effect.sync(() =>
        assert.throws(
          () =>
            checkOptions("registerService", () => {
              throw new TypeError("a mistake in the check")
            }),
          TypeError
        )
      )
  )
})
