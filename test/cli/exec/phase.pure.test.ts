// The state machine of `exec`.
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { duplicateSignalMillis, type Event, initial, type Phase, step } from "../../../src/cli/exec/phase.ts"
import { StartupTimeout } from "../../../src/registry/registration/RegistrationError.ts"
import { Duration } from "effect"

const signal = (signal: NodeJS.Signals): Event => ({ _tag: "Signal", signal })
const ended: Event = { _tag: "ChildEnded", exit: { code: 3, signal: null } }
const error = new StartupTimeout({ key: "/services/a/a", after: Duration.seconds(1) })
const refused: Event = { _tag: "Refused", error }

/** The phases and actions of events a second apart, one word each. */
const run = (...events: ReadonlyArray<readonly [number, Event]>): ReadonlyArray<string> => {
  let phase: Phase = initial
  return events.map(([at, event]) => {
    const [next, action] = step(phase, event, at)
    phase = next
    return `${phase._tag} ${action._tag}${"signal" in action ? ` ${action.signal}` : ""}`
  })
}

describe("exec: phases", () => {
  it("exec drains on SIGTERM, then stops the child with the same signal", () => {
    assert.deepEqual(run([0, signal("SIGTERM")], [10, { _tag: "Drained" }], [20, ended]), [
      "Draining Drain",
      "Stopping Stop SIGTERM",
      "Ended None"
    ])
    assert.deepEqual(run([0, signal("SIGINT")], [10, { _tag: "Drained" }]), ["Draining Drain", "Stopping Stop SIGINT"])
  })

  it("exec forwards other signals at once, in every phase", () => {
    assert.deepEqual(
      run([0, signal("SIGHUP")], [0, signal("SIGTERM")], [1, signal("SIGUSR1")], [2, { _tag: "Drained" }], [
        3,
        signal("SIGQUIT")
      ]),
      [
        "Serving Forward SIGHUP",
        "Draining Drain",
        "Draining Forward SIGUSR1",
        "Stopping Stop SIGTERM",
        "Stopping Forward SIGQUIT"
      ]
    )
  })

  it("exec stops the child at once on a second SIGTERM and ignores a duplicate of the first", () => {
    assert.deepEqual(
      run([0, signal("SIGTERM")], [duplicateSignalMillis - 1, signal("SIGTERM")], [
        duplicateSignalMillis,
        signal("SIGTERM")
      ]),
      ["Draining Drain", "Draining None", "Stopping Stop SIGTERM"]
    )
  })

  it("exec forwards a further SIGTERM to a child that has already received one", () => {
    assert.deepEqual(
      run([0, signal("SIGTERM")], [1, { _tag: "Drained" }], [2, signal("SIGTERM")], [2000, signal("SIGTERM")]),
      ["Draining Drain", "Stopping Stop SIGTERM", "Stopping None", "Stopping Forward SIGTERM"]
    )
  })

  it("exec stops the child when the instance cannot be registered, and keeps the error", () => {
    assert.deepEqual(run([0, refused], [1, ended]), ["Stopping Stop SIGTERM", "Ended None"])
    const [stopping] = step(initial, refused, 0)
    const [phase] = step(stopping, ended, 1)
    assert.ok(phase._tag === "Ended" && phase.refused === error)
  })

  it("exec ends in every phase when the child ends, and does nothing afterwards", () => {
    assert.deepEqual(run([0, ended], [1, signal("SIGTERM")], [2, refused]), ["Ended None", "Ended None", "Ended None"])
    assert.deepEqual(run([0, signal("SIGTERM")], [1, ended], [2, { _tag: "Drained" }]), [
      "Draining Drain",
      "Ended None",
      "Ended None"
    ])
  })
})
