/**
 * The one error that the promises of `./promise` reject with.
 *
 * @since 0.1.0
 * @module
 */
import { Cause } from "effect"

/**
 * An error with a `code`, for programs without Effect.
 *
 * **Details**
 *
 * `code` is the name of the error of the Effect API in capitals: `INVALID_OPTION`, `INSTANCE_ID_TAKEN`,
 * `REGISTRATION_REFUSED`, `STARTUP_TIMEOUT`, `DISCOVERY_REFUSED`, `ETCD_ERROR`. Besides: `CLOSED` (the client is
 * closed), `ABORTED` (the call was interrupted) and `DEFECT` (an unexpected exception). `cause` is the original error.
 *
 * @since 0.1.0
 * @category errors
 */
export class ClientError extends Error {
  override readonly name = "ClientError"
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }

  /** `JSON.stringify` leaves the message of other errors out. */
  toJSON(): unknown {
    return { name: this.name, code: this.code, message: this.message }
  }
}

/** The error of a client that is closed. */
export const closed = (): ClientError =>
  new ClientError("CLOSED", "cannot use the client: it is closed. Connect again.")

const codeOf = (tag: string): string => tag.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()

/** The error of a failure or a defect. */
export const fromError = (error: unknown): ClientError => {
  if (error instanceof ClientError) return error
  const message = error instanceof Error ? error.message : String(error)
  return typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string" ?
    new ClientError(codeOf(error._tag), message, error) :
    new ClientError("DEFECT", message, error)
}

/** The error of a cause: its first failure, or else its defect. */
export const fromCause = (cause: Cause.Cause<unknown>): ClientError =>
  Cause.hasInterruptsOnly(cause) ?
    new ClientError("ABORTED", "the call was interrupted", cause) :
    fromError(Cause.squash(cause))
