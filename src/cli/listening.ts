/**
 * The flags of commands that serve HTTP, and the URL that they print.
 *
 * @module
 */
import * as Flag from "effect/cli/Flag"

/** The port to listen on. */
export const portFlag = (byDefault: number): Flag.Flag<number> =>
  Flag.Int("port").pipe(
    Flag.withDescription(`The port; 0 selects a free port [default: ${byDefault}]`),
    Flag.withMetavar("number"),
    Flag.withDefault(byDefault)
  )

const loopback = "127.0.0.1"

/** The address to bind, by default 127.0.0.1. */
export const hostFlag = (description: string): Flag.Flag<string> =>
  Flag.String("host").pipe(
    Flag.withDescription(`${description} [default: ${loopback}]`),
    Flag.withMetavar("address"),
    Flag.withDefault(loopback)
  )

/** An address as written in a URL or a `Host` header. */
export const bracketed = (host: string): string => host.includes(":") && !host.startsWith("[") ? `[${host}]` : host
