/**
 * Variables: `<SERVICE>_ENDPOINTS` with the comma-separated endpoints of the available instances, and
 * `<SERVICE>_COUNT`.
 *
 * Values contain no character that is special to shells, systemd or Docker, so all of them read the file alike.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { type Format, notice, prepareEntries } from "../Format.ts"

/** Excludes blanks, quotes, backslashes, `$`, `~`, commas, and all characters that a shell expands or splits at. */
const plain = /^[A-Za-z0-9._:/%@+=[\]-]+$/

const variable = (name: string): string => name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_").replace(/^(?=\d)/, "_")

export const env: Format = {
  checkNames: (names) => {
    const seen = new Map<string, string>()
    for (const name of names) {
      const other = seen.get(variable(name))
      if (other !== undefined) {
        return Result.fail(
          `${JSON.stringify(other)} and ${JSON.stringify(name)} map to the same variable ${variable(name)}`
        )
      }
      seen.set(variable(name), name)
    }
    return Result.void
  },
  prepare: (name, set) =>
    prepareEntries(
      name,
      set,
      set.available.flatMap(({ endpoints, id }) =>
        endpoints.map((endpoint) =>
          [id, plain.test(endpoint) ? Result.succeed(endpoint) : Result.fail("its endpoint needs quotes")] as const
        )
      ),
      (endpoints) => `${variable(name)}_ENDPOINTS=${endpoints.join(",")}\n${variable(name)}_COUNT=${endpoints.length}`
    ),
  join: (services) => Effect.succeed([notice, ...services.map(({ section }) => section), ""].join("\n"))
}
