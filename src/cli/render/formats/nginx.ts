/**
 * An nginx `upstream` for each service, with the available instances.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { checkPattern, type Format, notice, prepareEntries } from "../Format.ts"
import { ipAddressOf, scaledWeights } from "./address.ts"

export const nginx: Format = {
  checkNames: checkPattern(/^[A-Za-z0-9_.-]+$/, "letters, digits, '_', '.' and '-'"),
  prepare: (name, set) => {
    const weights = scaledWeights(set.available, 100)
    return prepareEntries(
      name,
      set,
      set.available.map((instance, index) => [
        instance.id,
        // nginx fails to start if a name does not resolve.
        Result.map(ipAddressOf(instance), ({ text }) => `    server ${text} weight=${weights[index] ?? 1};`)
      ]),
      (servers) =>
        [
          `upstream ${name} {`,
          // nginx rejects an upstream without servers.
          ...(servers.length === 0 ? ["    server 127.0.0.1:1 down;"] : servers),
          "}"
        ].join("\n")
    )
  },
  join: (services) => Effect.succeed([notice, ...services.map(({ section }) => section), ""].join("\n"))
}
