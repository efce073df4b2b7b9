/**
 * All instances of any status as JSON: `{ "orders": [{ "id": "a", … }] }`.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { jsonText } from "../../output.ts"
import type { Format } from "../Format.ts"

export const json: Format = {
  checkNames: () => Result.void,
  prepare: (name, set) => ({
    name,
    set,
    isEmpty: set.size === 0,
    skipped: [],
    section: `  ${jsonText(name)}: [\n${set.instances.map((instance) => `    ${jsonText(instance)}`).join(",\n")}\n  ]`
  }),
  join: (services) => Effect.succeed(`{\n${services.map(({ section }) => section).join(",\n")}\n}\n`)
}
