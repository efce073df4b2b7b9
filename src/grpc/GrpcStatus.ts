/**
 * Whether the status code of a failed gRPC call counts against the instance, and whether the call may be retried.
 *
 * | code                 | the instance has failed | `isRetryable` | `isRetryableIfIdempotent` |
 * | -------------------- | ----------------------- | ------------- | ------------------------- |
 * | `UNAVAILABLE`        | yes                     | yes           | yes                       |
 * | `RESOURCE_EXHAUSTED` | yes                     | no            | yes                       |
 * | `DEADLINE_EXCEEDED`  | yes                     | no            | yes                       |
 * | `INTERNAL`           | yes                     | no            | yes                       |
 * | `DATA_LOSS`          | yes                     | no            | yes                       |
 * | `ABORTED`            | no                      | no            | yes                       |
 * | any other            | no                      | no            | no                        |
 *
 * This is what `ServiceClient` does by default with errors that have a code; it retries by `isRetryable`.
 *
 * @since 0.1.0
 * @module
 */
import {
  grpcCodeOf,
  isFailureStatus,
  isRefusedConnection,
  isRepeatableCode,
  isRetryableStatus
} from "../balancing/client/status.ts"
import type { CallOptions } from "../balancing/client/options.ts"

/**
 * The gRPC code of an error of grpc-js or ConnectRPC, or of an error that has it as a cause.
 *
 * **Details**
 *
 * `undefined` if the error has none.
 *
 * **Example**
 *
 * ```ts
 * import { GrpcStatus } from "@effect-etcd/discovery/grpc"
 * import assert from "node:assert/strict"
 *
 * const error = Object.assign(new Error("no such order"), { code: 5, details: "no such order" })
 * assert.equal(GrpcStatus.codeOf(new Error("cannot read the order", { cause: error })), 5)
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const codeOf: (error: unknown) => number | undefined = grpcCodeOf

/**
 * Whether the error counts against the instance.
 *
 * **Details**
 *
 * An error without a code counts.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isFailure = (error: unknown): boolean => isFailureStatus(error) ?? true

/**
 * Whether any call may be retried after the error: its code is `UNAVAILABLE`, or it has none.
 *
 * **Gotchas**
 *
 * A connection that is lost in the middle of a call is `UNAVAILABLE`, too. For calls that must never run twice, use
 * {@link once}.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isRetryable = (error: unknown): boolean => isRetryableStatus(error) ?? true

/**
 * Whether an idempotent call may be retried after the error.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isRetryableIfIdempotent = (error: unknown): boolean => isRepeatableCode(error) ?? true

/**
 * Options for calls that may run twice, such as reads.
 *
 * @since 0.1.0
 * @category options
 */
export const idempotent: CallOptions = { isFailure, retryable: isRetryableIfIdempotent }

/**
 * Options for calls that must never run twice: retried only if the connection was refused.
 *
 * **Details**
 *
 * Nothing was sent then.
 *
 * @since 0.1.0
 * @category options
 */
export const once: CallOptions = { isFailure, retryable: isRefusedConnection }
