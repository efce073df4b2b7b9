/**
 * The two shapes of declarations, our own and that of go-zero, read through one interface.
 *
 * @module
 */
import type { Result, Schema } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import type * as Service from "../registry/model/Service.ts"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"
import type { Path, Problem } from "./document.ts"

/** Decodes a value at a path. Fails with all its problems. */
export type Decode = <A>(
  schema: Schema.Codec<A, unknown>,
  value: unknown,
  path: Path,
  unknownMembers: "error" | "ignore"
) => Result.Result<A, ReadonlyArray<Problem>>

/** The tools for reading a shape. */
export interface Context {
  readonly decode: Decode
  /** An endpoint, with the advertised address in place of a wildcard host. */
  readonly endpoint: Schema.Codec<string, unknown>
  readonly variable: (name: string) => string | undefined
}

/** The content of a shape. */
export interface Parts {
  readonly etcd?: EtcdGrpcOptions
  readonly namespace?: string
  readonly services: ReadonlyArray<{
    readonly service: Service.Service
    readonly options: RegisterOptions
    /** The path of an option of the service, for problems. */
    readonly pathOf: (option: string) => Path
  }>
  readonly discover: ReadonlyArray<Service.Service>
}

/** The result of reading a tree. Without `parts` there is at least one problem. */
export interface Found {
  readonly parts?: Parts
  readonly problems: ReadonlyArray<Problem>
  /** Ignored members. */
  readonly warnings: ReadonlyArray<Problem>
}

/** Reads the root of a tree. */
export type ReadShape = (root: Readonly<Record<string, unknown>>, context: Context) => Found

/** The members of a value. Empty if it is not a record. */
export const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : {}
