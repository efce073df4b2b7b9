/**
 * The options of the console, their defaults and their checks.
 *
 * @module
 */
import { Duration, Redacted } from "effect"
import type { Check } from "../internal/options.ts"
import * as Keyspace from "../registry/model/Keyspace.ts"
import type { Limits } from "./Knowledge.ts"

/**
 * The credentials for the console: a token, or a user name with a password.
 *
 * **Details**
 *
 * Browsers ask for a user name and a password: enter any name, and the token as the password.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export type Auth =
  | { readonly token: Redacted.Redacted }
  | { readonly username: string; readonly password: Redacted.Redacted }

/**
 * The options of the console.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The path below which the router serves the console, such as `/console`. Default: the root. */
  readonly path?: string
  /** The namespace to show. Default: `/services`. */
  readonly namespace?: string
  /** Whether pages may drain instances and change weights. Default: false. */
  readonly allowWrites?: boolean
  /**
   * The accepted names in the `Host` header, without a port. Refusing others prevents a foreign web site from reading
   * the console through DNS rebinding. Default: `localhost`, `127.0.0.1`, `[::1]`. Any other name needs `auth`.
   */
  readonly hosts?: ReadonlyArray<string>
  /** The credentials that requests need. Default: none. */
  readonly auth?: Auth
  /** Allows host names other than loopback without `auth`. Default: false. */
  readonly insecure?: boolean
  /** Which values pages show: those of keys in the namespace, or all. Default: `"namespace"`. */
  readonly values?: "namespace" | "all"
  /** The age of the last confirmation at which a page becomes stale. Default: 6 seconds. */
  readonly staleAfter?: Duration.Input
  /** The age of the last confirmation at which a page becomes disconnected. Default: 20 seconds. */
  readonly disconnectedAfter?: Duration.Input
}

/** {@link Options} with their defaults. */
export interface Settings {
  /** The path without a slash at its end. */
  readonly path: string
  readonly namespace: string
  /** The namespace with a slash at its end. */
  readonly prefix: string
  readonly allowWrites: boolean
  readonly hosts: ReadonlySet<string>
  readonly auth: Auth | undefined
  readonly showsAllValues: boolean
  readonly limits: Limits
}

const loopback: ReadonlyArray<string> = ["localhost", "127.0.0.1", "[::1]"]

/** Checks the options and adds their defaults. */
export const checkOptionsOf = (check: Check, options: Options): Settings => {
  const { allowWrites = false, auth, hosts = loopback, insecure = false, path = "", values = "namespace" } = options
  if (!/^(?:\/[\w.~-]+)*$/.test(check.text("path", path))) {
    check.refuse("path", path, "it must be empty or segments of letters, digits and - . _ ~, such as /console")
  }
  const keyspace = check.valid(
    "namespace",
    options.namespace ?? Keyspace.defaultNamespace,
    Keyspace.make(options.namespace ?? Keyspace.defaultNamespace)
  )
  for (const host of hosts) {
    if (!/^(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])$/i.test(check.text("hosts", host))) {
      check.refuse("hosts", host, "it must be a name or an address without a port, such as console.example.com")
    }
  }
  if (auth === undefined && !insecure && hosts.some((host) => !loopback.includes(host))) {
    check.refuse("hosts", hosts, "a name other than loopback needs auth. Set auth, or insecure: true")
  }
  if (auth !== undefined && secretOf(auth).length === 0) {
    check.refuse("auth", auth, "the token or password must not be empty")
  }
  const staleAfter = check.duration("staleAfter", options.staleAfter ?? "6 seconds")
  const disconnectedAfter = check.duration("disconnectedAfter", options.disconnectedAfter ?? "20 seconds", {
    min: staleAfter
  })
  return {
    path,
    namespace: keyspace.namespace,
    prefix: keyspace.prefix,
    allowWrites: check.oneOf("allowWrites", allowWrites, [true, false]),
    hosts: new Set(hosts.map((host) => host.toLowerCase())),
    auth,
    showsAllValues: check.oneOf("values", values, ["namespace", "all"]) === "all",
    limits: {
      staleMillis: Duration.toMillis(staleAfter),
      disconnectedMillis: Duration.toMillis(disconnectedAfter)
    }
  }
}

/** The token or the password. */
export const secretOf = (auth: Auth): string => Redacted.value("token" in auth ? auth.token : auth.password)
