/**
 * The phase of `exec`: one tagged value and one step function.
 *
 * ```
 * Serving ── SIGTERM, SIGINT ──▶ Draining ── drained ──▶ Stopping
 *    └───────── refused ─────────────────────────────────▶  │
 * any ── the child has ended ──▶ Ended
 * ```
 *
 * @module
 */
import type { RegistrationError } from "../../registry/registration/RegistrationError.ts"
import type { ChildExit } from "./Child.ts"

/** The phase of `exec`. Times are in milliseconds of the monotonic clock. */
export type Phase =
  /** The child runs. Its registration starts or continues. */
  | { readonly _tag: "Serving" }
  /** The instance drains. The child has not received the signal yet. */
  | { readonly _tag: "Draining"; readonly signal: NodeJS.Signals; readonly at: number }
  /** The child has received the signal. */
  | { readonly _tag: "Stopping"; readonly at: number; readonly refused: RegistrationError | undefined }
  | { readonly _tag: "Ended"; readonly exit: ChildExit; readonly refused: RegistrationError | undefined }

/** An input of the state machine. */
export type Event =
  | { readonly _tag: "Signal"; readonly signal: NodeJS.Signals }
  /** The registration has ended. */
  | { readonly _tag: "Drained" }
  /** etcd or the options reject the instance permanently. */
  | { readonly _tag: "Refused"; readonly error: RegistrationError }
  | { readonly _tag: "ChildEnded"; readonly exit: ChildExit }

/** An output of the state machine. */
export type Action =
  | { readonly _tag: "None" }
  /** Send this signal to the child. */
  | { readonly _tag: "Forward"; readonly signal: NodeJS.Signals }
  /** Drain and deregister. */
  | { readonly _tag: "Drain" }
  /** Send this signal to the child, and SIGKILL after `killAfter`. */
  | { readonly _tag: "Stop"; readonly signal: NodeJS.Signals }

/** The first phase. */
export const initial: Phase = { _tag: "Serving" }

/** Ignores a further SIGTERM or SIGINT within this time: a task runner and the terminal both send one signal. */
export const duplicateSignalMillis = 1000

const none: Action = { _tag: "None" }

const isStop = (signal: NodeJS.Signals): boolean => signal === "SIGTERM" || signal === "SIGINT"

/** Returns the next phase and the action after an event. */
export const step = (phase: Phase, event: Event, at: number): readonly [Phase, Action] => {
  if (phase._tag === "Ended") return [phase, none]
  const refused = phase._tag === "Stopping" ? phase.refused : undefined
  switch (event._tag) {
    case "ChildEnded":
      return [{ _tag: "Ended", exit: event.exit, refused }, none]
    case "Drained":
      return phase._tag === "Draining" ?
        [{ _tag: "Stopping", at, refused }, { _tag: "Stop", signal: phase.signal }] :
        [phase, none]
    case "Refused":
      return phase._tag === "Serving" ?
        [{ _tag: "Stopping", at, refused: event.error }, { _tag: "Stop", signal: "SIGTERM" }] :
        [phase, none]
    case "Signal": {
      const { signal } = event
      if (!isStop(signal)) return [phase, { _tag: "Forward", signal }]
      if (phase._tag === "Serving") return [{ _tag: "Draining", signal, at }, { _tag: "Drain" }]
      if (at - phase.at < duplicateSignalMillis) return [phase, none]
      // The second signal does not wait for the drain.
      return phase._tag === "Draining" ?
        [{ _tag: "Stopping", at, refused }, { _tag: "Stop", signal }] :
        [{ ...phase, at }, { _tag: "Forward", signal }]
    }
  }
}
