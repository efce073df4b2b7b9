/**
 * What a shape of declarations is.
 *
 * @module
 */
import type { Result, Schema } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"
import type { Problem } from "./environment.ts"
import type { Path } from "./locate.ts"
import type { Layout } from "./serviceFor.ts"

/** Decodes what stands at a path by a schema, or tells all that is wrong with it, unknown members included if they are. */
export type Decode = <A>(
  schema: Schema.Codec<A, unknown>,
  value: unknown,
  path: Path,
  unknownMembers: "error" | "ignore"
) => Result.Result<A, ReadonlyArray<Problem>>

/** A shape that declarations have. */
export interface DeclaredShape {
  readonly layout: Layout
  /** What is wrong beyond single fields. */
  readonly problems: (tree: Readonly<Record<string, unknown>>) => ReadonlyArray<Problem>
  readonly read: (
    tree: Readonly<Record<string, unknown>>,
    endpoint: Schema.Codec<string, unknown>,
    decode: Decode
  ) => Result.Result<{
    readonly etcd?: EtcdGrpcOptions
    readonly namespace?: string
    readonly services: ReadonlyArray<{ readonly name: string; readonly options: RegisterOptions }>
    readonly discover: ReadonlyArray<string>
  }, ReadonlyArray<Problem>>
}

/** The members of a value; none if it has none. */
export const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : {}
