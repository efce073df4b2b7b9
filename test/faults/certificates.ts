/**
 * The certificates of a world: files at fixed paths, whose content is replaced.
 *
 * @module
 */
import { Effect, Scope } from "effect"
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { makeAuthority } from "../etcd/grpc/certificates.ts"
import { freePort } from "../harness/real.ts"

export interface Certificates {
  /** How the server is started. */
  readonly server: {
    readonly cert: string
    readonly key: string
    readonly clientCa: string
    readonly plainPort: number
  }
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string }
  /** Reaches the server without certificates. */
  readonly plainEndpoint: string
  /** Puts certificates of a new authority into every file. */
  readonly replace: Effect.Effect<void, Error>
}

/** Certificates for the lifetime of the scope. */
export const makeCertificates: Effect.Effect<Certificates, Error, Scope.Scope> = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "etcd-certificates-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const file = (name: string) => join(folder, name)
  const replace = Effect.gen(function* () {
    const authority = yield* makeAuthority
    copyFileSync(authority.ca, file("ca.pem"))
    for (const name of ["server", "client"]) {
      const { cert, key } = yield* authority.sign("IP:127.0.0.1")
      copyFileSync(cert, file(`${name}.pem`))
      copyFileSync(key, file(`${name}.key`))
    }
  })
  const own = Effect.provideService(replace, Scope.Scope, scope)
  yield* own
  const plainPort = yield* freePort
  return {
    server: { cert: file("server.pem"), key: file("server.key"), clientCa: file("ca.pem"), plainPort },
    client: { ca: file("ca.pem"), cert: file("client.pem"), key: file("client.key") },
    plainEndpoint: `http://127.0.0.1:${plainPort}`,
    replace: own
  }
})
