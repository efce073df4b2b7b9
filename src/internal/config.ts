/**
 * Settings as text.
 *
 * @module
 */
import { Config, ConfigProvider, Redacted } from "effect"

const withoutFinalNewline = (text: string): string => text.replace(/\r?\n$/, "")

/** A setting without the newline that ends a file, such as a mounted secret. */
export const text = (name: string): Config.Config<string> => Config.map(Config.String(name), withoutFinalNewline)

/** As {@link text}, for a secret. */
export const secret = (name: string): Config.Config<Redacted.Redacted> =>
  Config.map(Config.Redacted(name), (value) => Redacted.make(withoutFinalNewline(Redacted.value(value))))

/** As {@link text}, for a setting that has no default. The error says what to set. */
export const required = (name: string, value: string): Config.Config<string> =>
  Config.orElse(text(name), ({ cause }) =>
    Config.fail(
      cause._tag === "SourceError" ?
        cause :
        new ConfigProvider.SourceError({ message: `${name} is not set. Set it to ${value}.` })
    ))
