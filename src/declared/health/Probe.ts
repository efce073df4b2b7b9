/**
 * Health checks that are data: an HTTP request, a TCP connection or a command.
 *
 * @module
 */
import { Duration, Effect, Result } from "effect"
import * as http from "node:http"
import * as https from "node:https"
import { connect } from "node:net"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"
import { formatDuration } from "../../internal/time/format.ts"
import { withoutStack } from "../../internal/withoutStack.ts"
import { runShell } from "./shell.ts"

/** The target of a check. */
export type Probe =
  /** A GET of this URL must return a status from 200 to 399. Redirects are not followed. */
  | { readonly _tag: "Http"; readonly url: string }
  /** A connection to this address must open. */
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  /** This command must exit with 0. The shell runs it. */
  | { readonly _tag: "Command"; readonly command: string }

const ProbeFailedBase: TaggedErrorClass<"ProbeFailed", {
  readonly probe: Probe
  readonly detail: string
}> = TaggedErrorClass("ProbeFailed")

/** A failed health check. */
export class ProbeFailed extends ProbeFailedBase {
  override get message(): string {
    return `${show(this.probe)} failed: ${this.detail}`
  }
}

const show = (probe: Probe): string => {
  switch (probe._tag) {
    case "Http":
      return `GET ${probe.url}`
    case "Tcp":
      return `connecting to ${probe.host}:${probe.port}`
    case "Command":
      return `the command ${JSON.stringify(probe.command)}`
  }
}

/** The default time between two checks, which also limits one check. */
export const defaultInterval: Duration.Duration = Duration.seconds(5)

/** Parses a URL. Fails with the broken rule. */
export const fromUrl = (text: string): Result.Result<Probe, string> =>
  URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) && new URL(text).username === "" ?
    Result.succeed({ _tag: "Http", url: text }) :
    Result.fail("it must be a URL such as http://127.0.0.1:8080/health, without credentials")

/** Parses an address. Fails with the broken rule. */
export const fromAddress = (text: string): Result.Result<Probe, string> => {
  const [, bracketed, name, digits] = /^(?:\[([0-9a-f:.%a-z]+)\]|([^\s:/?#@[\]]+)):(\d{1,5})$/i.exec(text) ?? []
  const [host, port] = [bracketed ?? name, Number(digits)]
  return host !== undefined && port >= 1 && port <= 65_535 ?
    Result.succeed({ _tag: "Tcp", host, port }) :
    Result.fail("it must be host:port, such as 127.0.0.1:8080, with a port of 1 to 65535")
}

/** Parses a command. Fails with the broken rule. */
export const fromCommand = (text: string): Result.Result<Probe, string> =>
  text.trim() === "" ?
    Result.fail("it must be a command, such as pg_isready") :
    Result.succeed({ _tag: "Command", command: text })

const request = (url: string): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const { get } = url.startsWith("https:") ? https : http
    const request = get(url, { agent: false }, (response) => {
      const { statusCode = 0 } = response
      resume(statusCode >= 200 && statusCode < 400 ? Effect.void : Effect.fail(`status ${statusCode}`))
      request.destroy()
    })
    request.on("error", (error) => resume(Effect.fail(error.message)))
    return Effect.sync(() => request.destroy())
  })

const open = (host: string, port: number): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const socket = connect({ host, port }, () => {
      resume(Effect.void)
      socket.destroy()
    })
    socket.on("error", (error) => resume(Effect.fail(error.message)))
    return Effect.sync(() => socket.destroy())
  })

/** Checks once. A check that exceeds `timeout` fails, and everything it started is killed. */
export const check = (probe: Probe, timeout: Duration.Duration): Effect.Effect<void, ProbeFailed> => {
  const once = probe._tag === "Http" ?
    request(probe.url) :
    probe._tag === "Tcp" ?
    open(probe.host, probe.port) :
    runShell(probe.command)
  return once.pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => Effect.fail(`no result within ${formatDuration(timeout)}`)
    }),
    Effect.mapError((detail) => withoutStack(() => new ProbeFailed({ probe, detail })))
  )
}
