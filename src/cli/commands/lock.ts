/**
 * `etcd-discovery lock`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Holding from "../holding.ts"
import { load } from "../load.ts"
import { reachable } from "../reachable.ts"

export const lock = Command.make(
  "lock",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription("The key of the lock, without the namespace, such as /locks/migration")
    ),
    command: Holding.command,
    ...Holding.flags
  },
  Effect.fnUntraced(function* (options) {
    const { Lock } = yield* load(() => import("../../coordination/mod.ts"))
    yield* reachable(`${options.name}/`)
    yield* Holding.runHeld(options, Lock.acquire(options.name, Holding.acquireOptions(options)))
  })
).pipe(
  Command.withDescription(
    "Run a command while holding a lock. If the lock is lost, end the command and exit with 75"
  ),
  Command.withExamples([
    {
      command: "etcd-discovery lock /locks/migration -- ./migrate.sh",
      description: "ETCD_LOCK_REV is the fencing token"
    },
    {
      command: "etcd-discovery lock /locks/migration",
      description: "Without a command: print the key and hold the lock until Ctrl-C"
    }
  ])
)
