/**
 * Failures of commands: one readable sentence with a remedy, and an exit code.
 *
 * @module
 */
import type { EtcdError } from "../etcd/EtcdError.ts"
import { show } from "../internal/options.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

/** The exit codes of every command. A command that runs a child exits with the code of the child. */
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
  /** etcd does not accept the user, or does not permit the operation. */
  denied: 5,
  /** Another write was faster, or the key belongs to another owner. */
  conflict: 6,
  /** `doctor` found a problem. */
  findings: 7,
  /** A defect of this program. */
  defect: 70,
  /** The lock or the leadership was lost, and the child was ended. */
  lost: 75
} as const

const CommandFailedBase: TaggedErrorClass<"CommandFailed", {
  /** What was attempted, what is wrong, and what to do. */
  readonly message: string
  readonly exitCode: number
}> = TaggedErrorClass("CommandFailed")

/** A failure that a command explains itself. */
export class CommandFailed extends CommandFailedBase {}

const ExitWithBase: TaggedErrorClass<"ExitWith", { readonly exitCode: number }> = TaggedErrorClass("ExitWith")

/** Ends the process with a code and prints nothing, for instance with the code of a child. */
export class ExitWith extends ExitWithBase {}

/** Why and how a command ends. */
export interface Ending {
  /** Nothing is printed if it is empty. */
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

/** How a failure of any command ends the process. */
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
      // One problem on each line of its message.
      return { message: error.message.replaceAll(/\s*\n\s*/g, "; "), exitCode: exitCodes.usage }
    case "InstanceNotFound":
      return { message: error.message, exitCode: exitCodes.notFound }
    case "InstanceHasOwner":
    case "InstanceIdTaken":
      return { message: error.message, exitCode: exitCodes.conflict }
    case "StartupTimeout":
      return isEtcdError(error["cause"]) ? ofEtcd(error["cause"]) : {
        message:
          "etcd did not take the registration in time. Check that etcd runs and has a leader (etcd-discovery doctor).",
        exitCode: exitCodes.unreachable
      }
    case "DiscoveryRefused":
    case "RegistrationRefused":
      return isEtcdError(error["cause"]) ?
        ofEtcd(error["cause"]) :
        { message: error.message, exitCode: exitCodes.failed }
    default: {
      // An error of a command may have a code of its own.
      const { exitCode } = error
      return { message: error.message, exitCode: typeof exitCode === "number" ? exitCode : exitCodes.failed }
    }
  }
}

/** How a defect ends the process: a sentence without a stack. */
export const defectOf = (defect: unknown): Ending => ({
  message: `internal error: ${
    defect instanceof Error ? defect.message : String(defect)
  }. This is a defect of etcd-discovery; please report it.`,
  exitCode: exitCodes.defect
})

const ofEtcd = (error: EtcdError): Ending => {
  const { endpoint, key, method, reason } = error
  const at = endpoint === undefined ? "" : ` at ${endpoint}`
  switch (reason._tag) {
    case "Unavailable":
    case "DeadlineExceeded":
      return {
        message: `cannot reach etcd${at}: ${withoutPeriod(reason.detail)}. ` +
          "Check that etcd runs there, and --endpoints (or ETCD_ENDPOINTS).",
        exitCode: exitCodes.unreachable
      }
    case "Unauthenticated":
      return {
        message: reason.detail.includes("user name is empty") ?
          `etcd${at} requires a user. Set --user and --password-file (or ETCD_USERNAME and ETCD_PASSWORD).` :
          `etcd${at} does not accept the user or the password. ` +
          "Check --user and --password-file (or ETCD_USERNAME and ETCD_PASSWORD).",
        exitCode: exitCodes.denied
      }
    case "PermissionDenied":
      return {
        message: `etcd does not permit ${method}${key === undefined ? "" : ` on ${JSON.stringify(key)}`}. ` +
          "Grant a role of this user access to that key, or use another user (--user, --password-file).",
        exitCode: exitCodes.denied
      }
  }
  return { message: error.message, exitCode: exitCodes.failed }
}

const withoutPeriod = (text: string): string => text.replace(/\.\s*$/, "")
