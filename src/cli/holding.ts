/**
 * Runs a command while holding a lock or a leadership.
 *
 * @module
 */
import * as Deferred from "effect/Deferred"
import type { Input as DurationInput } from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Argument from "effect/cli/Argument"
import type * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Option from "effect/Option"
import type { AcquireOptions, Held, LockLost } from "../coordination/mod.ts"
import type { InvalidOption } from "../internal/options.ts"
import type { Child, CommandNotStarted } from "./exec/Child.ts"
import { CommandFailed, exitCodes, ExitWith } from "./failure.ts"
import { durationFlag, given } from "./instance.ts"
import { load } from "./load.ts"
import { Json, printJson, printLine } from "./output.ts"
import { Signals } from "./signals.ts"

/** The flags of a command that holds something. */
export const flags = {
  ttl: durationFlag("ttl", "How long the lease lasts without a heartbeat [default: 10 seconds]"),
  timeout: durationFlag("timeout", "How long to wait [default: for ever]"),
  killAfter: durationFlag("kill-after", "How long to wait after SIGTERM before SIGKILL [default: 5 seconds]")
}

/** The command and its arguments, after `--`. */
export const command = Argument.String("command").pipe(
  Argument.withDescription("The command to run meanwhile, after --"),
  Argument.variadic()
)

/** The values of {@link flags} and {@link command}. */
export interface Options {
  readonly name: string
  readonly command: ReadonlyArray<string>
  readonly ttl: Option.Option<DurationInput>
  readonly timeout: Option.Option<DurationInput>
  readonly killAfter: Option.Option<DurationInput>
}

/** The options of `Lock` and `Election`. */
export const acquireOptions = ({ timeout, ttl }: Options): AcquireOptions => given({ timeout, ttl })

/** The signals that end this process while it waits, with their numbers. */
const numbers: Readonly<Partial<Record<NodeJS.Signals, number>>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 }

/**
 * Acquires, then runs the command until it ends. If the lock or the leadership is lost, ends the command and fails.
 * Signals go to the command; before it starts, they end the wait. Without a command, holds until a signal arrives.
 */
export const runHeld = <E, R>(
  options: Options,
  acquire: Effect.Effect<Held, E, R | Scope.Scope>
): Effect.Effect<
  void,
  E | ExitWith | CommandFailed | InvalidOption | CommandNotStarted,
  Exclude<R, Scope.Scope> | GlobalFlag.Setting.Identifier<"json">
> =>
  Effect.scoped(Effect.gen(function* () {
    const { command: [program, ...args], killAfter, name } = options
    const Child = yield* load(() => import("./exec/Child.ts"))
    const signalled = yield* Deferred.make<never, ExitWith>()
    const running: { child?: Child } = {}
    yield* (yield* Signals).handle((signal) => {
      if (running.child === undefined) {
        const number = numbers[signal]
        if (number !== undefined) Deferred.doneUnsafe(signalled, Effect.fail(new ExitWith({ exitCode: 128 + number })))
      } else if (!Child.isShared(signal)) Effect.runFork(running.child.signal(signal))
    })
    const held = yield* Effect.raceFirst(acquire, Deferred.await(signalled))
    const lost = Effect.mapError(held.lost, lossOf)
    if (program === undefined) {
      yield* (yield* Json) ?
        printJson({ key: held.key, revision: held.revision, lease: held.leaseId.toString(16) }) :
        printLine(held.key)
      return yield* Effect.raceFirst(lost, Deferred.await(signalled))
    }
    const child = yield* Child.make({
      command: program,
      args,
      killAfter: Option.getOrElse(killAfter, () => "5 seconds" as const),
      // etcdctl sets the first two as well.
      env: {
        ETCD_LOCK_KEY: held.key,
        ETCD_LOCK_REV: String(held.revision),
        ETCD_LOCK_LEASE: held.leaseId.toString(16),
        ETCD_LOCK_NAME: name
      }
    })
    running.child = child
    // If `held` is lost, the scope ends the child before this completes.
    const exit = yield* Effect.raceFirst(child.exit, lost)
    return yield* new ExitWith({ exitCode: Child.exitCode(exit) })
  }))

const lossOf = ({ message }: LockLost): CommandFailed => new CommandFailed({ message, exitCode: exitCodes.lost })
