/**
 * `etcd-discovery exec`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { Connection } from "../connection.ts"
import { CommandFailed, exitCodes, ExitWith } from "../failure.ts"
import { durationFlag, flags as instanceFlags, given, optionsOf, textFlag } from "../instance.ts"
import { load } from "../load.ts"

const flags = {
  ...instanceFlags,
  healthHttp: textFlag("health-http", "url", "Healthy if a GET returns a status from 200 to 399"),
  healthTcp: textFlag("health-tcp", "host:port", "Healthy if a TCP connection opens"),
  healthCmd: textFlag("health-cmd", "command", "Healthy if this shell command exits with 0"),
  healthInterval: durationFlag("health-interval", "The time between two health checks [default: 5 seconds]"),
  healthTimeout: durationFlag("health-timeout", "The time limit of one check [default: the interval]"),
  healthThreshold: Flag.Int("health-threshold").pipe(
    Flag.withDescription("The number of consecutive failures that mean down [default: 3]"),
    Flag.withMetavar("count"),
    Flag.optional
  ),
  drain: durationFlag(
    "drain",
    "How long to publish draining before the signal goes to the command [default: 0 seconds]"
  ),
  killAfter: durationFlag("kill-after", "How long to wait after the signal before SIGKILL [default: 10 seconds]")
}

const invalid = (message: string) => new CommandFailed({ message, exitCode: exitCodes.usage })

export const exec = Command.make(
  "exec",
  {
    service: Argument.String("service").pipe(Argument.withDescription("The name of the service")),
    command: Argument.String("command").pipe(
      Argument.withDescription("The command and its arguments, after --"),
      Argument.variadic({ min: 1 })
    ),
    ...flags
  },
  Effect.fnUntraced(function* ({ command: [command = "", ...args], service, ...flags }) {
    const { Child, Exec, Probe } = yield* load(() => import("../exec/mod.ts"))
    const { keyspace } = yield* Connection
    const probes = [
      { flag: "--health-http", text: flags.healthHttp, read: Probe.fromUrl },
      { flag: "--health-tcp", text: flags.healthTcp, read: Probe.fromAddress },
      { flag: "--health-cmd", text: flags.healthCmd, read: Probe.fromCommand }
    ].flatMap(({ text, ...rest }) => Option.isSome(text) ? [{ ...rest, text: text.value }] : [])
    if (probes.length > 1) {
      return yield* invalid("at most one of --health-http, --health-tcp and --health-cmd is allowed.")
    }
    const [first] = probes
    const health = first && {
      probe: yield* Effect.mapError(
        Effect.fromResult(first.read(first.text)),
        (rule) => invalid(`${first.flag} is ${JSON.stringify(first.text)}; ${rule}.`)
      ),
      ...given({ interval: flags.healthInterval, threshold: flags.healthThreshold, timeout: flags.healthTimeout })
    }
    const plan = yield* Effect.fromResult(
      Exec.plan(keyspace, {
        service,
        register: optionsOf(flags),
        ...(health && { health }),
        ...given({ drain: flags.drain })
      })
    )
    const exit = yield* Exec.exec(plan, Child.make({ command, args, ...given({ killAfter: flags.killAfter }) }))
    return yield* new ExitWith({ exitCode: Child.exitCode(exit) })
  })
).pipe(
  Command.withDescription("Run a command, and register its service while it is healthy"),
  Command.withExamples([
    {
      command: "etcd-discovery exec web --endpoint http://0.0.0.0:8000 --health-http http://127.0.0.1:8000/ -- " +
        "python3 -m http.server",
      description: "A server in Python that is registered as web"
    },
    {
      command: "etcd-discovery exec db --endpoint 0.0.0.0:5432 --health-cmd pg_isready --drain '5 seconds' -- postgres",
      description: "On SIGTERM, consumers see draining for 5 seconds before postgres gets the signal"
    }
  ])
)
