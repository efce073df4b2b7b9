/**
 * `etcd-discovery elect`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { hostname } from "node:os"
import process from "node:process"
import * as Holding from "../holding.ts"
import { load } from "../load.ts"
import { Json, printEach, printJson, printLine } from "../output.ts"
import { reachable } from "../reachable.ts"

export const elect = Command.make(
  "elect",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription("The key of the election, without the namespace, such as /elections/scheduler")
    ),
    command: Holding.command,
    value: Flag.String("value").pipe(
      Flag.withDescription("The value that the leader publishes [default: host name and process id]"),
      Flag.withMetavar("text"),
      Flag.optional
    ),
    observe: Flag.Boolean("observe").pipe(
      Flag.withDescription("Do not campaign; print each leader"),
      Flag.withDefault(false)
    ),
    ...Holding.flags
  },
  Effect.fnUntraced(function* ({ observe, value, ...options }) {
    const { Election } = yield* load(() => import("../../coordination/mod.ts"))
    yield* reachable(`${options.name}/`)
    if (observe) {
      const json = yield* Json
      return yield* printEach(Election.observe(options.name), (leader) => {
        const found = Option.getOrNull(leader)
        return json ?
          printJson({ leader: found && { ...found, leaseId: found.leaseId.toString(16) } }) :
          printLine(found === null ? "no leader" : `${found.value} (revision ${found.revision})`)
      })
    }
    const own = Option.getOrElse(value, () => `${hostname()}:${process.pid}`)
    yield* Holding.runHeld(options, Election.campaign(options.name, own, Holding.acquireOptions(options)))
  })
).pipe(
  Command.withDescription(
    "Run a command while leading. If the leadership is lost, end the command and exit with 75"
  ),
  Command.withExamples([
    {
      command: "etcd-discovery elect /elections/scheduler -- ./scheduler",
      description: "Waits until this process leads"
    },
    { command: "etcd-discovery elect /elections/scheduler --observe", description: "Prints each leader" }
  ])
)
