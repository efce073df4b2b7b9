/**
 * `etcd-discovery console`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { readFile } from "node:fs/promises"
import process from "node:process"
import { Connection } from "../connection.ts"
import { CommandFailed, exitCodes } from "../failure.ts"
import { bracketed, hostFlag, portFlag } from "../listening.ts"
import { library, load } from "../load.ts"
import { Json, printJson, printNote } from "../output.ts"

const loopback: ReadonlyArray<string> = ["localhost", "127.0.0.1", "::1"]

const readToken = (file: string): Effect.Effect<string, CommandFailed> =>
  Effect.tryPromise({
    try: async () => (await readFile(file, "utf8")).replace(/\r?\n$/, ""),
    catch: (cause) =>
      new CommandFailed({
        message: `cannot read the token from ${JSON.stringify(file)}: ` +
          `${cause instanceof Error ? cause.message : cause}. Check --token-file.`,
        exitCode: exitCodes.usage
      })
  })

export const console = Command.make(
  "console",
  {
    port: portFlag(8500),
    host: hostFlag("The address to bind; any address other than loopback needs a token"),
    allowHosts: Flag.String("allow-host").pipe(
      Flag.withDescription("A host name that browsers may use for the console, besides loopback; may be repeated"),
      Flag.withMetavar("name"),
      Flag.atLeast(0)
    ),
    tokenFile: Flag.String("token-file").pipe(
      Flag.withDescription(
        "A file that contains the access token [ETCD_DISCOVERY_CONSOLE_TOKEN, the token itself]"
      ),
      Flag.withMetavar("file"),
      Flag.optional
    ),
    login: Flag.String("login").pipe(
      Flag.withDescription("The user name to enter with the token as the password [default: any]"),
      Flag.withMetavar("name"),
      Flag.optional
    ),
    insecure: Flag.Boolean("insecure").pipe(
      Flag.withDescription("Allow addresses other than loopback without a token"),
      Flag.withDefault(false)
    ),
    allowWrites: Flag.Boolean("allow-writes").pipe(
      Flag.withDescription("Allow pages to drain instances and change weights"),
      Flag.withDefault(false)
    ),
    values: Flag.Literals("values", ["namespace", "all"]).pipe(
      Flag.withDescription("Which values pages show: those of keys in the namespace, or all [default: namespace]"),
      Flag.withDefault("namespace" as const)
    ),
    demo: Flag.Boolean("demo").pipe(
      Flag.withDescription("Show a small fleet that starts, drains and fails. Needs --memory"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ allowHosts, allowWrites, demo, host, insecure, login, port, tokenFile, values }) {
    const { keyspace: { namespace }, options } = yield* Connection
    if (demo && Option.isSome(options)) {
      return yield* new CommandFailed({
        message:
          "cannot show the demo: it writes a fleet into etcd. Add --memory, which uses an etcd inside this process.",
        exitCode: exitCodes.usage
      })
    }
    const { Etcd } = yield* library
    const { WebConsole } = yield* load(() => import("../../console/mod.ts"))
    const { serve } = yield* load(() => import("../../console/serve.ts"))

    const token = Option.isSome(tokenFile) ?
      yield* readToken(tokenFile.value) :
      process.env["ETCD_DISCOVERY_CONSOLE_TOKEN"]
    const isLoopback = loopback.includes(host)
    if (!isLoopback && token === undefined && !insecure) {
      return yield* new CommandFailed({
        message: `cannot serve on ${host} without a token: anyone who can connect could read the instances. ` +
          "Add --token-file, bind 127.0.0.1, or add --insecure.",
        exitCode: exitCodes.usage
      })
    }
    const isWildcard = host === "0.0.0.0" || host === "::"
    const hosts = [
      ...loopback.map(bracketed),
      ...(isLoopback || isWildcard ? [] : [bracketed(host)]),
      ...allowHosts
    ]
    const password = Redacted.make(token ?? "", { label: "console token" })
    const routes = WebConsole.layer({
      namespace,
      allowWrites,
      hosts,
      insecure,
      values,
      ...(token === undefined ? {} : {
        auth: Option.match(login, {
          onNone: () => ({ token: password }),
          onSome: (username) => ({ username, password })
        })
      })
    }).pipe(Layer.provide(Layer.succeed(Etcd, yield* Etcd)))
    const bound = yield* serve(routes, { hostname: host, port })
    if (demo) yield* (yield* load(() => import("../../console/demo.ts"))).demo
    const url = `http://${isWildcard ? "127.0.0.1" : bracketed(host)}:${bound.port}/`
    if (yield* Json) yield* printJson({ url })
    else yield* printNote(`the console runs at ${url}`)
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Serve a web console for the namespace until Ctrl-C or SIGTERM"),
  Command.withExamples([
    { command: "etcd-discovery console", description: "On http://127.0.0.1:8500" },
    { command: "etcd-discovery console --memory --demo --allow-writes", description: "Try the console without etcd" },
    {
      command: "etcd-discovery console --host 0.0.0.0 --allow-host console.example --token-file /run/secrets/console",
      description: "For other hosts, with a token"
    }
  ])
)
