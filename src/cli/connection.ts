/**
 * The connection flags of every command, and the layers that they describe.
 *
 * @module
 */
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Flag from "effect/cli/Flag"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { readFile } from "node:fs/promises"
import process from "node:process"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type * as EtcdGrpc from "../etcd/grpc/EtcdGrpc.ts"
import type { InvalidOption } from "../internal/options.ts"
import type { Keyspace } from "../registry/model/Keyspace.ts"
import type * as Registry from "../registry/Registry.ts"
import { CommandFailed, exitCodes } from "./failure.ts"
import { library } from "./load.ts"

const text = (name: string, variable: string, description: string, metavar: string) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description} [${variable}]`),
    Flag.withMetavar(metavar),
    Flag.optional
  )

/** The flags. The environment variable in brackets is the fallback. */
export const flags = {
  endpoints: text(
    "endpoints",
    "ETCD_ENDPOINTS, default http://127.0.0.1:2379",
    "The members of the etcd cluster, separated by commas",
    "urls"
  ).pipe(Flag.withAlias("e")),
  user: text("user", "ETCD_USERNAME", "The user, if etcd requires one", "name"),
  passwordFile: text("password-file", "ETCD_PASSWORD, the password itself", "A file with the password", "file"),
  cacert: text("cacert", "ETCD_CA_CERT", "The CA certificates (PEM) of etcd", "file"),
  cert: text("cert", "ETCD_CERT", "The certificate (PEM) of this client", "file"),
  key: text("key", "ETCD_KEY", "The private key (PEM) of this client", "file"),
  dialTimeout: text(
    "dial-timeout",
    "ETCD_DIAL_TIMEOUT, default 3 seconds",
    "The time limit of a connection attempt",
    "duration"
  ),
  namespace: text("namespace", "ETCD_NAMESPACE, default /services", "The key prefix of all services", "path")
    .pipe(Flag.withAlias("n")),
  memory: Flag.Boolean("memory").pipe(
    Flag.withDescription("Use an empty etcd inside this process, for experiments"),
    Flag.withDefault(false)
  )
}

/** The values of {@link flags}. */
export interface Flags {
  readonly endpoints: Option.Option<string>
  readonly user: Option.Option<string>
  readonly passwordFile: Option.Option<string>
  readonly cacert: Option.Option<string>
  readonly cert: Option.Option<string>
  readonly key: Option.Option<string>
  readonly dialTimeout: Option.Option<string>
  readonly namespace: Option.Option<string>
  readonly memory: boolean
}

/** The connection of a command. */
export interface Connection {
  /** How to reach etcd. Missing with `--memory`. */
  readonly options: Option.Option<EtcdGrpc.Options>
  /** The keys of the namespace. */
  readonly keyspace: Keyspace
}

/** The service of the {@link Connection}. */
export const Connection: Context.Service<Connection, Connection> = Context.Service(
  "@effect-etcd/discovery/cli/Connection"
)

const readPassword = (file: string): Effect.Effect<string, CommandFailed> =>
  Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: (cause) =>
      new CommandFailed({
        message: `cannot read the password from ${JSON.stringify(file)}: ` +
          `${cause instanceof Error ? cause.message : cause}. Check --password-file.`,
        exitCode: exitCodes.usage
      })
  })

/** Returns the settings: flags, then environment variables, then defaults. Reads only these variables. */
const settingsOf = Effect.fnUntraced(function* (flags: Flags): Effect.fn.Return<Record<string, string>, CommandFailed> {
  const password = Option.isSome(flags.passwordFile) ?
    Option.some(yield* readPassword(flags.passwordFile.value)) :
    Option.none()
  const given: Readonly<Record<string, Option.Option<string>>> = {
    ETCD_ENDPOINTS: flags.endpoints,
    ETCD_USERNAME: flags.user,
    ETCD_PASSWORD: password,
    ETCD_CA_CERT: flags.cacert,
    ETCD_CERT: flags.cert,
    ETCD_KEY: flags.key,
    ETCD_KEY_PASSPHRASE: Option.none(),
    ETCD_DIAL_TIMEOUT: flags.dialTimeout,
    ETCD_NAMESPACE: flags.namespace
  }
  const settings: Record<string, string> = { ETCD_ENDPOINTS: "http://127.0.0.1:2379", ETCD_NAMESPACE: "/services" }
  for (const [name, flag] of Object.entries(given)) {
    const value = Option.getOrUndefined(flag) ?? process.env[name]
    if (value !== undefined && value !== "") settings[name] = value
  }
  return settings
})

/** The layers of every command. Building them sends nothing to etcd. */
export const layer = (
  flags: Flags
): Layer.Layer<
  Connection | Registry.Registry | Etcd,
  InvalidOption | EtcdError | Config.ConfigError | CommandFailed
> =>
  Layer.unwrap(Effect.gen(function* () {
    const { EtcdGrpc, EtcdMemory, Keyspace, Registry, checkOptions } = yield* library
    const settings = yield* settingsOf(flags)
    const namespace = settings["ETCD_NAMESPACE"] ?? Keyspace.defaultNamespace
    const keyspace = yield* Effect.fromResult(
      checkOptions("etcd-discovery", (check) => check.valid("--namespace", namespace, Keyspace.make(namespace)))
    )
    const options = flags.memory ?
      Option.none() :
      Option.some(yield* EtcdGrpc.config.parse(ConfigProvider.fromEnv({ env: settings })))
    const etcd = Option.match(options, { onNone: () => EtcdMemory.layer(), onSome: EtcdGrpc.layer })
    return Registry.layer({ namespace }).pipe(
      Layer.provideMerge(etcd),
      Layer.merge(Layer.succeed(Connection, { options, keyspace }))
    )
  }))
