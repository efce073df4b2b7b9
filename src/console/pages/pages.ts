/**
 * Maps paths to pages.
 *
 * @module
 */
import { Effect } from "effect"
import { cluster } from "./cluster.ts"
import { missing, type Page } from "./Context.ts"
import { coordination } from "./coordination.ts"
import { instance } from "./instance.ts"
import { keys } from "./keys.ts"
import { leases } from "./leases.ts"
import { overview } from "./overview.ts"
import { service } from "./service.ts"
import { services } from "./services.ts"
import { timeline } from "./timeline.ts"

const pages: Readonly<Record<string, Page>> = { services, timeline, coordination, keys, leases, cluster }

/** Returns the page for these segments. */
export const pageOf = (segments: ReadonlyArray<string>): Page => {
  const [first = "", ...rest] = segments
  if (segments.length === 0) return overview
  if (first === "services" && rest.length === 1) return service
  if (first === "services" && rest.length === 2) return instance
  const page = Object.hasOwn(pages, first) && rest.length === 0 ? pages[first] : undefined
  return page ?? ((context) => Effect.succeed(missing(context, "This page does not exist.")))
}
