/**
 * The command line: all commands, their shared flags, and how their failures end the process.
 *
 * To add a command:
 *
 * 1. write `commands/<name>.ts`, which exports one `Command` with a description and an example;
 * 2. read `Registry`, `Etcd` and `Connection` from the context, fail with any error of this package or `CommandFailed`;
 * 3. add it to `commands` below. Import heavy modules inside the handler (`load.ts`).
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Layer from "effect/Layer"
import { agent } from "./commands/agent.ts"
import { changes } from "./commands/changes.ts"
import { console } from "./commands/console.ts"
import { deregister } from "./commands/deregister.ts"
import { doctor } from "./commands/doctor.ts"
import { drain, undrain, weight } from "./commands/edit.ts"
import { elect } from "./commands/elect.ts"
import { exec } from "./commands/exec.ts"
import { instance } from "./commands/instance.ts"
import { instances } from "./commands/instances.ts"
import { kv } from "./commands/kv.ts"
import { leases } from "./commands/leases.ts"
import { lock } from "./commands/lock.ts"
import { register } from "./commands/register.ts"
import { render } from "./commands/render.ts"
import { serve } from "./commands/serve.ts"
import { services } from "./commands/services.ts"
import { watch } from "./commands/watch.ts"
import { completeWord, completions, names, namesFor } from "./completion.ts"
import * as Connection from "./connection.ts"
import { defectOf, type Ending, endingOf, exitCodes } from "./failure.ts"
import { withLogs } from "./logs.ts"
import { Json, printNote } from "./output.ts"
import { version } from "./version.ts"

const commands = [
  services,
  instances,
  instance,
  watch,
  changes,
  leases,
  doctor,
  drain,
  undrain,
  weight,
  register,
  deregister,
  lock,
  elect,
  exec,
  agent,
  serve,
  console,
  kv,
  render,
  completions((): Command.Command.Any => rootWith(Connection.layer)),
  names
] as const

/** The root command with all subcommands. `connect` builds the layers of a command from the shared flags. */
export const rootWith = (connect: typeof Connection.layer) =>
  Command.make("etcd-discovery").pipe(
    Command.withDescription("Inspect and change what is registered in etcd"),
    Command.withSharedFlags(Connection.flags),
    Command.withSubcommands(commands),
    Command.withGlobalFlags([Json]),
    Command.provide(connect)
  )

/**
 * Omits the wizard, which needs prompts, and the built-in completions: `completions` also completes names from etcd.
 */
const config = CliConfig.layer({
  builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.LogLevel]
})

/** Omits the help after an invalid command line: `run` prints one sentence instead. */
const presenter = CliOutput.layerPresenter({
  present: (event) => event._tag === "InvalidInvocation" ? Effect.void : CliOutput.defaultPresenter.present(event)
})

const isShowHelp = (error: unknown): error is CliError.ShowHelp =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "ShowHelp"

const usageOf = ({ commandPath, errors }: CliError.ShowHelp): Ending =>
  errors.length === 0 ? { message: "", exitCode: exitCodes.success } : {
    message: `${
      errors.map(({ message }) => message.replace(/\.?\s*$/, "").replaceAll(/\s*\n\s*/g, " ")).join(". ")
    }. ` +
      `See ${commandPath.join(" ")} --help.`,
    exitCode: exitCodes.usage
  }

const endingOfCause = (cause: Cause.Cause<unknown>): Ending => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure === undefined) return defectOf(Cause.squash(cause))
  const { error } = failure
  return isShowHelp(error) ? usageOf(error) : endingOf(error)
}

/** Runs a command line and returns the exit code. Prints a failure as one sentence. Never fails. */
export const run = (
  args: ReadonlyArray<string>,
  connect: typeof Connection.layer = Connection.layer
): Effect.Effect<number, never, Command.Environment> => {
  const root = rootWith(connect)
  const [first, ...words] = args
  const line = first === completeWord ? namesFor(words, root) : args
  if (line === undefined) return Effect.succeed(exitCodes.success)
  return withLogs(Command.runWith(root, { version })(line)).pipe(
    Effect.as(exitCodes.success),
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
      const { exitCode, message } = endingOfCause(cause)
      return message === "" ? Effect.succeed(exitCode) : Effect.as(printNote(`etcd-discovery: ${message}`), exitCode)
    }),
    Effect.provide(Layer.merge(config, presenter))
  )
}
