/**
 * An HAProxy `backend` for each service, with the available instances. Settings belong into a `defaults` section.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { createHash } from "node:crypto"
import { checkPattern, type Format, notice, prepareEntries } from "../Format.ts"
import { addressOf, scaledWeights } from "./address.ts"

/** The largest weight of a server. */
const maxWeight = 256

const safeName = /^[A-Za-z0-9_.:-]{1,128}$/

/** Returns a unique name for a server: the id, or its safe characters and a hash. */
const serverName = (id: string, taken: Set<string>): string => {
  const hash = createHash("sha256").update(id).digest("hex")
  let name = safeName.test(id) ? id : `${id.replaceAll(/[^A-Za-z0-9_.:-]/g, "_").slice(0, 64)}-${hash.slice(0, 12)}`
  while (taken.has(name)) name = `${name}_`
  taken.add(name)
  return name
}

export const haproxy: Format = {
  checkNames: checkPattern(/^[A-Za-z0-9_.:-]+$/, "letters, digits, '_', '.', ':' and '-'"),
  prepare: (name, set) => {
    const weights = scaledWeights(set.available, maxWeight)
    const taken = new Set<string>()
    return prepareEntries(
      name,
      set,
      set.available.map((instance, index) => [
        instance.id,
        Result.map(addressOf(instance), ({ family, text }) =>
          // HAProxy fails to start if a name does not resolve, unless `init-addr` allows "none".
          `    server ${serverName(instance.id, taken)} ${text} weight ${weights[index] ?? 1}` +
          (family === 0 ? " init-addr last,libc,none" : ""))
      ]),
      (servers) => [`backend ${name}`, ...servers].join("\n")
    )
  },
  join: (services) => Effect.succeed([notice, ...services.map(({ section }) => section), ""].join("\n"))
}
