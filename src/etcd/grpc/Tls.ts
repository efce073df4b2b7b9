/**
 * The certificates of a client, read again for each connection.
 *
 * A changed file takes effect with the next connection. If the files are unreadable or do not match, as in the middle
 * of a rotation, the last good ones stay in use. A warning is then logged once.
 *
 * @module
 */
import { Effect, Redacted, Result } from "effect"
import { readFile } from "node:fs/promises"
import process from "node:process"
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls"
import { InvalidOption } from "../../internal/options.ts"
import { messageOf } from "./failures.ts"
import { certificatesOf, checkPair, hasKey, isPem, keyOf } from "./pem.ts"
import { logWarning } from "../../internal/log.ts"

/**
 * Certificates and keys, each as PEM text or as the path of a PEM file.
 *
 * **Details**
 *
 * Files are read again for each connection.
 *
 * @since 0.1.0
 * @category options
 */
export interface Tls {
  /**
   * The authorities that may have signed the server's certificate. Default: the file that
   * `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names, or else the authorities of the runtime, of `NODE_EXTRA_CA_CERTS` and of the
   * system.
   */
  readonly ca?: string
  /** The client's certificate, followed by its chain, for servers that ask for one. */
  readonly cert?: string
  /** The private key of `cert`. Default: the one in `cert`'s text. */
  readonly key?: string | Redacted.Redacted
  /** Decrypts `key`. */
  readonly passphrase?: Redacted.Redacted
  /** The name or the IP address that the server's certificate must have. Default: the host of the endpoint. */
  readonly serverName?: string
}

/** See the module's description. */
export interface SecureContexts {
  /** The certificates of the next connection. */
  readonly context: Effect.Effect<SecureContext>
}

type Name = "ca" | "cert" | "key"

/** The texts behind the options. */
type Texts = { readonly [N in Name]: string | undefined }

const refuse = (option: string, shown: string, rule: string): InvalidOption =>
  new InvalidOption({ of: "EtcdGrpc.make", option, value: shown, rule })

const reveal = (value: string | Redacted.Redacted | undefined): string | undefined =>
  Redacted.isRedacted(value) ? Redacted.value(value) : value

/** Text that does not look like a path may be a key without its first line, so no message shows it. */
const looksLikePath = /^(\.{0,2}\/\S*|[\w.-]*\.\w{1,5}|[A-Za-z]:\\\S*)$/

const shownOf = (value: string | undefined): string => {
  if (value === undefined) return "missing"
  if (isPem(value)) return "PEM text"
  return looksLikePath.test(value) ? value : "text that is neither PEM nor a path"
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : messageOf(error)

const read = (option: string, value: string | undefined): Effect.Effect<string | undefined, InvalidOption> => {
  if (value !== undefined && typeof value !== "string") {
    return Effect.fail(refuse(option, "not text", 'it must be PEM text or a path, such as readFileSync(path, "utf8")'))
  }
  if (value === undefined || isPem(value)) return Effect.succeed(value)
  return Effect.tryPromise({
    try: () => readFile(value, "utf8"),
    catch: (error) =>
      refuse(option, shownOf(value), `it must be PEM text or the path of a readable PEM file (${codeOf(error)})`)
  })
}

/** The authorities that a client trusts without `ca`: the same on each runtime. */
const defaultAuthorities = Effect.gen(function* () {
  const path = yield* Effect.sync(() => variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"))
  if (path !== undefined && path !== "") return yield* read("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", path)
  return bundledAndSystem ??= [...new Set([...authorities("default"), ...authorities("system")])].join("\n")
})

/** Parsed once for each process: a system has hundreds of them. */
let bundledAndSystem: string | undefined

const authorities = (store: "default" | "system"): ReadonlyArray<string> => {
  try {
    return getCACertificates(store)
  } catch {
    // Deno lacks the permission to read the store.
    return []
  }
}

/** An environment variable; `undefined` also if Deno denies access to it. */
const variable = (name: string): string | undefined => {
  try {
    return process.env[name]
  } catch {
    return undefined
  }
}

/** Checks the texts and makes a TLS context. */
const contextOf = (options: Tls, texts: Texts): Result.Result<SecureContext, InvalidOption> => {
  const { ca, cert, key } = texts
  const valid = <A>(name: Name, run: () => A): A => {
    try {
      return run()
    } catch (error) {
      throw refuse(`tls.${name}`, shownOf(reveal(options[name])), messageOf(error))
    }
  }
  return Result.try({
    try: () => {
      // The default authorities need no check: they come from the runtime.
      const authorities = ca === undefined || options.ca === undefined ? ca : valid("ca", () => certificatesOf(ca)).pem
      const chain = cert === undefined ? undefined : valid("cert", () => certificatesOf(cert))
      const identity = chain !== undefined && key !== undefined ?
        valid("key", () => {
          const privateKey = keyOf(key, reveal(options.passphrase))
          checkPair(chain, privateKey)
          return { cert: chain.pem, key: privateKey.export({ type: "pkcs8", format: "pem" }) }
        }) :
        {}
      return valid("cert", () => createSecureContext({ ...identity, ...(authorities && { ca: authorities }) }))
    },
    catch: (error) => error instanceof InvalidOption ? error : refuse("tls", "set", messageOf(error))
  })
}

/** Reads and checks the certificates. Fails if they are missing, invalid, or do not belong together. */
export const make: (options: Tls) => Effect.Effect<SecureContexts, InvalidOption> = Effect.fnUntraced(
  function* (options: Tls) {
    const load = Effect.gen(function* () {
      const ca = options.ca === undefined ? yield* defaultAuthorities : yield* read("tls.ca", options.ca)
      const cert = yield* read("tls.cert", options.cert)
      const key = yield* read("tls.key", reveal(options.key))
      if (cert !== undefined && key === undefined && !hasKey(cert)) {
        return yield* refuse("tls.key", "missing", "tls.cert needs its private key, there or in the same text")
      }
      if (key !== undefined && cert === undefined && !key.includes("CERTIFICATE")) {
        return yield* refuse("tls.cert", "missing", "tls.key needs its certificate, there or in the same text")
      }
      return { ca, cert: cert ?? key, key: key ?? cert } satisfies Texts
    })

    let texts = yield* load
    let context = yield* Effect.fromResult(contextOf(options, texts))
    let warned = ""

    const refresh = Effect.gen(function* () {
      const next = yield* load
      if (next.ca === texts.ca && next.cert === texts.cert && next.key === texts.key) return
      context = yield* Effect.fromResult(contextOf(options, next))
      texts = next
      warned = ""
    })
    return {
      context: Effect.map(
        Effect.catch(refresh, (error) => {
          if (error.message === warned) return Effect.void
          warned = error.message
          return logWarning(`the last good certificates stay in use: ${error.message}`)
        }),
        () => context
      )
    }
  }
)
