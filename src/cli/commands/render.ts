/**
 * `etcd-discovery render`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { CommandFailed, exitCodes } from "../failure.ts"
import { durationFlag, given, textFlag } from "../instance.ts"
import { load } from "../load.ts"
import { formatNames } from "../render/formats/names.ts"

const invalid = (message: string) => new CommandFailed({ message, exitCode: exitCodes.usage })

const switchFlag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

export const render = Command.make(
  "render",
  {
    services: Argument.String("service").pipe(
      Argument.withDescription("The names of the services"),
      Argument.variadic({ min: 1 })
    ),
    format: Flag.Literals("format", formatNames).pipe(
      Flag.withAlias("f"),
      Flag.withDescription("The format of the file"),
      Flag.optional
    ),
    module: textFlag("module", "file", "A module whose default export returns the text, instead of --format"),
    output: textFlag("output", "file", "The file to write").pipe(Flag.withAlias("o")),
    mode: textFlag("mode", "octal", "The mode of a new file; an existing one keeps its own [default: 644]"),
    onEmpty: Flag.Literals("on-empty", ["keep", "write", "fail"]).pipe(
      Flag.withDescription("What to do while a service has no instances [default: keep]"),
      Flag.optional
    ),
    wait: textFlag(
      "wait",
      "min:max",
      "Wait until nothing has changed for min, at most max [default: 200 millis:2 seconds]"
    ),
    check: textFlag("check", "command", "A shell command that validates the staged file, $FILE"),
    reload: textFlag("reload", "command", "A shell command to run after replacing the file"),
    commandTimeout: durationFlag("command-timeout", "The time limit of each of these commands [default: 30 seconds]"),
    once: switchFlag("once", "Write the file once and exit"),
    dryRun: switchFlag("dry-run", "Print the text once instead of writing a file")
  },
  Effect.fnUntraced(function* ({ dryRun, format, mode, module, once, output, services, ...flags }) {
    if (Option.isSome(format) === Option.isSome(module)) {
      return yield* invalid("set either --format or --module.")
    }
    if (Option.isNone(output) && !dryRun) return yield* invalid("--output is missing. Name a file, or use --dry-run.")
    if (Option.isSome(mode) && !/^0?[0-7]{3}$/.test(mode.value)) {
      return yield* invalid(`--mode is ${JSON.stringify(mode.value)}; it must be octal, such as 640.`)
    }
    const { formats, loadFormat, Render } = yield* load(() => import("../render/mod.ts"))
    const plan = yield* Effect.fromResult(Render.plan({
      services,
      format: Option.isSome(format) ? formats[format.value] : yield* loadFormat(Option.getOrElse(module, () => "")),
      output: dryRun ? undefined : Option.getOrUndefined(output),
      ...given({ ...flags, mode: Option.map(mode, (text) => parseInt(text, 8)) })
    }))
    yield* dryRun || once ? Render.once(plan) : Render.follow(plan)
  })
).pipe(
  Command.withDescription("Write a file whenever the instances of services change"),
  Command.withExamples([
    {
      command: "etcd-discovery render orders --format nginx --output /etc/nginx/upstreams/orders.conf " +
        "--reload 'nginx -s reload'",
      description: "An nginx upstream"
    },
    {
      command: "etcd-discovery render orders payments --format haproxy --output /etc/haproxy/backends.cfg " +
        "--check 'haproxy -c -f /etc/haproxy/haproxy.cfg -f \"$FILE\"' --reload 'systemctl reload haproxy'",
      description: "HAProxy backends, validated by HAProxy before they replace the old file"
    },
    {
      command: "etcd-discovery render orders --format env --dry-run",
      description: "Print the text"
    }
  ])
)
