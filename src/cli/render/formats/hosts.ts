/**
 * Lines of a hosts file. Each has the address of an available instance, the name of the service, and `<id>.<service>`.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { type Format, notice, prepareEntries } from "../Format.ts"
import { ipAddressOf, isDnsName } from "./address.ts"

export const hosts: Format = {
  checkNames: (names) => {
    const wrong = names.find((name) => !isDnsName(name))
    return wrong === undefined ? Result.void : Result.fail(`${JSON.stringify(wrong)} is not a host name`)
  },
  prepare: (name, set) =>
    prepareEntries(
      name,
      set,
      set.available.map((instance) => [
        instance.id,
        Result.map(ipAddressOf(instance), ({ host }) => {
          const own = `${instance.id}.${name}`
          return [host, name, ...(isDnsName(own) ? [own] : [])].join("\t")
        })
      ]),
      (lines) => lines.join("\n")
    ),
  join: (services) =>
    Effect.succeed(
      [notice, ...services.flatMap(({ section }) => section === "" ? [] : [section]), ""].join("\n")
    )
}
