/**
 * Targets for Prometheus' `file_sd_configs`: all instances of any status, in the format of `/sd/prometheus`.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { groupsOf } from "../../../monitoring/targets.ts"
import { jsonText } from "../../output.ts"
import type { Format } from "../Format.ts"

const query = { services: new Set<string>(), statuses: new Set<never>(), scheme: undefined }

export const prometheus: Format = {
  checkNames: () => Result.void,
  prepare: (name, set) => {
    const groups = groupsOf([[name, set]], query)
    const written = new Set(groups.map(({ labels }) => labels["__meta_etcd_id"]))
    return {
      name,
      set,
      isEmpty: groups.length === 0,
      skipped: set.instances.filter(({ id }) => !written.has(id)).map(({ id }) =>
        `${JSON.stringify(id)} (no endpoint is http or https)`
      ),
      section: groups.map((group) => `  ${jsonText(group)}`).join(",\n")
    }
  },
  join: (services) =>
    Effect.succeed(
      `[\n${services.flatMap(({ section }) => section === "" ? [] : [section]).join(",\n")}\n]\n`
    )
}
