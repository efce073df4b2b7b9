/**
 * Certificates made on the spot, by `openssl`.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { toError } from "../../harness/real.ts"

/** A certificate and its private key, as paths of PEM files. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface Authority {
  /** The path of its own certificate. */
  readonly ca: string
  /** A folder for files of a test. */
  readonly folder: string
  /** Runs `openssl` in the folder. */
  readonly openssl: (...args: ReadonlyArray<string>) => Effect.Effect<void, Error>
  /** Signs a certificate for names such as `IP:127.0.0.1,DNS:etcd.test`; `days` below 0 is one that has expired. */
  readonly sign: (names: string, days?: number) => Effect.Effect<Certificate, Error>
}

/** An authority of its own, for the lifetime of the scope. */
export const makeAuthority: Effect.Effect<Authority, Error, Scope.Scope> = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "etcd-authority-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  let signed = 0
  const openssl = (...args: ReadonlyArray<string>) =>
    Effect.try({ try: () => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" }), catch: toError })
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
  yield* openssl("req", "-x509", ...newKey, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
  return {
    ca: join(folder, "ca.pem"),
    folder,
    openssl,
    sign: Effect.fnUntraced(function* (names, days = 2) {
      const name = `c${++signed}`
      const extensions = `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`
      writeFileSync(join(folder, `${name}.ext`), extensions)
      yield* openssl("req", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`)
      yield* openssl(
        ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
        ...["-days", String(days), "-out", `${name}.pem`, "-extfile", `${name}.ext`]
      )
      return { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) }
    })
  }
})
