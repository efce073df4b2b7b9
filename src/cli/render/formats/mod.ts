/**
 * The built-in formats.
 *
 * @module
 */
import type { Format } from "../Format.ts"
import { env } from "./env.ts"
import { haproxy } from "./haproxy.ts"
import { hosts } from "./hosts.ts"
import { json } from "./json.ts"
import { nginx } from "./nginx.ts"
import { prometheus } from "./prometheus.ts"
import type { FormatName } from "./names.ts"

/** The formats by name. */
export const formats: Readonly<Record<FormatName, Format>> = {
  env,
  haproxy,
  hosts,
  json,
  nginx,
  "prometheus-file-sd": prometheus
}
