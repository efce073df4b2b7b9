/**
 * Helpers for the tests of `./admin`.
 *
 * @module
 */
import { Effect, Redacted } from "effect"
import assert from "node:assert/strict"
import { Auth } from "../../src/admin/mod.ts"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import type { InvalidOption } from "../../src/internal/options.ts"

/** Runs a program on a client of these endpoints. */
export const connected = (options: Partial<EtcdGrpc.Options> & Pick<EtcdGrpc.Options, "endpoints">) =>
  Effect.provide(EtcdGrpc.layer(options))

/** Runs a program as a user. */
export const as = (endpoint: string, username: string) =>
  connected({ endpoints: [endpoint], username, password: Redacted.make(`${username}-s3cret`) })

/** Adds a user with the password that {@link as} uses, and its roles. */
export const addUser = (name: string, ...roles: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    yield* Auth.userAdd({ name, password: Redacted.make(`${name}-s3cret`) })
    for (const role of roles) yield* Auth.userGrantRole({ user: name, role })
  })

/** Why etcd refuses an operation. */
export const refusalOf = <A>(operation: Effect.Effect<A, EtcdError | InvalidOption, Etcd>) =>
  Effect.map(Effect.flip(operation), (error) => {
    assert.ok(error._tag === "EtcdError", String(error))
    return [error.method, error.reason._tag]
  })
