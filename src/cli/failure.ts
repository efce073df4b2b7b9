/**
 * The failures of commands: one sentence with a remedy, and an exit code.
 *
 * @module
 */
import process from "node:process"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { show } from "../internal/options.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

/** The exit codes of every command. A command that runs a child exits with the child's code. */
export const exitCodes = {
  success: 0,
  /** etcd refused or the operation failed. */
  failed: 1,
  /** An unknown command or flag, or an invalid value. */
  usage: 2,
  /** The service, the instance or the key does not exist. */
  notFound: 3,
  /** etcd does not answer. */
  unreachable: 4,
  /** etcd rejects the credentials or does not permit the operation. */
  denied: 5,
  /** Another write came first, or the key belongs to another owner. */
  conflict: 6,
  /** `doctor` found a problem. */
  findings: 7,
  /** A bug in this program. */
  defect: 70,
  /** The lock or the leadership was lost, and the child was terminated. */
  lost: 75
} as const

const CommandFailedBase: TaggedErrorClass<"CommandFailed", {
  /** What was attempted, what is wrong, and what to do. */
  readonly message: string
  readonly exitCode: number
}> = TaggedErrorClass("CommandFailed")

/** A failure whose message the command provides. */
export class CommandFailed extends CommandFailedBase {}

const ExitWithBase: TaggedErrorClass<"ExitWith", { readonly exitCode: number }> = TaggedErrorClass("ExitWith")

/** Ends the process with a code and prints nothing, for example with the code of a child. */
export class ExitWith extends ExitWithBase {}

/** The last message of a command, and its exit code. */
export interface Ending {
  /** Empty: print nothing. */
  readonly message: string
  readonly exitCode: number
}

interface Tagged {
  readonly _tag: string
  readonly message: string
}

const isTagged = (error: unknown): error is Tagged & Readonly<Record<string, unknown>> =>
  typeof error === "object" && error !== null && "_tag" in error && "message" in error &&
  typeof error.message === "string"

const isEtcdError = (error: unknown): error is EtcdError => isTagged(error) && error._tag === "EtcdError"

/** Maps a failure of any command to its message and exit code. */
export const endingOf = (error: unknown): Ending => {
  if (error instanceof ExitWith) return { message: "", exitCode: error.exitCode }
  if (error instanceof CommandFailed) return error
  if (!isTagged(error)) return defectOf(error)
  switch (error._tag) {
    case "EtcdError":
      return ofEtcd(error as Tagged as EtcdError)
    case "InvalidOption":
      return {
        message: `${error["option"]} is ${show(error["value"])}; ${error["rule"]}`,
        exitCode: exitCodes.usage
      }
    case "ConfigError":
      return { message: error.message, exitCode: exitCodes.usage }
    case "InvalidDeclaration":
      // The message has one line per problem.
      return { message: error.message.replaceAll(/\s*\n\s*/g, "; "), exitCode: exitCodes.usage }
    case "InstanceNotFound":
      return { message: error.message, exitCode: exitCodes.notFound }
    case "InstanceHasOwner":
    case "InstanceIdTaken":
      return { message: error.message, exitCode: exitCodes.conflict }
    case "StartupTimeout":
      return isEtcdError(error["cause"]) ? ofEtcd(error["cause"]) : {
        message:
          "etcd did not confirm the registration in time. Run etcd-discovery doctor to check that etcd runs and has a leader.",
        exitCode: exitCodes.unreachable
      }
    case "DiscoveryRefused":
    case "RegistrationRefused":
      return isEtcdError(error["cause"]) ?
        ofEtcd(error["cause"]) :
        { message: error.message, exitCode: exitCodes.failed }
    default: {
      // Errors of commands may have an exit code of their own.
      const { exitCode } = error
      return { message: error.message, exitCode: typeof exitCode === "number" ? exitCode : exitCodes.failed }
    }
  }
}

/** Maps a defect to a message without a stack. `node` is the version of Node whose APIs this runtime has. */
export const defectOf = (defect: unknown, node: string = process.versions.node): Ending =>
  isTooOld(node) ?
    {
      message: `Node ${node} is too old; etcd-discovery needs Node 22.19 or newer. ` +
        "Update Node, or use bunx --bun or deno run.",
      exitCode: exitCodes.failed
    } :
    {
      message: `internal error: ${
        defect instanceof Error ? defect.message : String(defect)
      }. This is a defect of etcd-discovery; please report it.`,
      exitCode: exitCodes.defect
    }

/** Whether a version of Node is below `engines` of package.json. */
const isTooOld = (node: string): boolean => {
  const [major = 0, minor = 0] = node.split(".").map(Number)
  return major < 22 || (major === 22 && minor < 19)
}

const ofEtcd = (error: EtcdError): Ending => {
  const { endpoint, key, method, reason } = error
  const at = endpoint === undefined ? "" : ` at ${endpoint}`
  switch (reason._tag) {
    case "Unavailable":
    case "DeadlineExceeded":
      return {
        message: `cannot reach etcd${at}: ${withoutPeriod(reason.detail)}. ` +
          "Check that etcd runs there, and check --endpoints (or ETCD_ENDPOINTS).",
        exitCode: exitCodes.unreachable
      }
    case "Unauthenticated":
      return {
        message: reason.detail.includes("user name is empty") ?
          `etcd${at} requires a user. Set --user and --password-file (or ETCD_USERNAME and ETCD_PASSWORD).` :
          `etcd${at} rejected the user or the password. ` +
          "Check --user and --password-file (or ETCD_USERNAME and ETCD_PASSWORD).",
        exitCode: exitCodes.denied
      }
    case "PermissionDenied":
      return {
        message: `etcd does not permit ${method}${key === undefined ? "" : ` on ${JSON.stringify(key)}`}. ` +
          "Grant one of this user's roles access to that key, or use another user (--user, --password-file).",
        exitCode: exitCodes.denied
      }
  }
  return { message: error.message, exitCode: exitCodes.failed }
}

const withoutPeriod = (text: string): string => text.replace(/\.\s*$/, "")
