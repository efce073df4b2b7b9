/**
 * The first page: totals, problems, and the latest changes.
 *
 * @module
 */
import { Effect } from "effect"
import { maxSamples, sampleMillis, type State, states, summaryOf } from "../Fleet.ts"
import { type Html, html } from "../html.ts"
import { href } from "../layout.ts"
import { count, countsBar, countsText, foreign, grouped, sparkline } from "../text.ts"
import { fixed, live } from "../view.ts"
import { type Context, type Page, unknown } from "./Context.ts"
import { recentChanges } from "./timeline.ts"

/** How many changes and problems the page lists. */
const maxShown = 12

/** Why a service needs attention, the most urgent problem first. */
const problems = (
  context: Context
): ReadonlyArray<{ readonly rank: number; readonly service: string; readonly text: Html }> => {
  const { fleet } = context.source
  const found: Array<{ readonly rank: number; readonly service: string; readonly text: Html }> = []
  for (const [service, set] of fleet.catalog ?? []) {
    const { available, counts, total } = summaryOf(set)
    if (available === 0) {
      found.push({ rank: 0, service, text: html`no instance gets traffic (${countsText(summaryOf(set))})` })
    } else if (counts.down > 0) {
      found.push({
        rank: 1 - counts.down / total,
        service,
        text: html`${count(counts.down, "instance")} down of ${total}`
      })
    }
    if (counts.rejected > 0) {
      found.push({ rank: 2 - counts.rejected / total, service, text: html`${count(counts.rejected, "key")} rejected` })
    }
    const withZone = set.size - (summaryOf(set).zones.get("") ?? 0)
    if (withZone > 0 && withZone < set.size) {
      found.push({ rank: 3, service, text: html`${count(set.size - withZone, "instance")} without a zone` })
    }
  }
  return found.sort((a, b) => a.rank - b.rank || (a.service < b.service ? -1 : 1))
}

/** See the module's description. */
export const overview: Page = (context) =>
  Effect.sync(() => {
    const { fleet, knowledge, settings } = context.source
    const { catalog } = fleet
    const counts: Record<State, number> = { up: 0, off: 0, starting: 0, draining: 0, down: 0, rejected: 0 }
    let total = 0
    let unavailable = 0
    for (const [, set] of catalog ?? []) {
      const summary = summaryOf(set)
      for (const state of states) counts[state] += summary.counts[state]
      total += summary.total
      if (summary.available === 0) unavailable += 1
    }
    const instances = total - counts.rejected
    counts.rejected += catalog?.rejected.length ?? 0
    const all = {
      counts,
      total: total + (catalog?.rejected.length ?? 0),
      available: 0,
      versions: new Map(),
      zones: new Map()
    }
    const found = problems(context)
    const minutes = maxSamples * sampleMillis / 60_000
    return {
      title: "Overview",
      knowledge: knowledge(),
      data: { services: catalog?.size, instances, counts, problems: found.length },
      blocks: [
        fixed(html`<h1>Overview</h1>`),
        live(
          "figures",
          catalog === undefined ? unknown("are no services") : html`
            <dl class="figures">
              <div>
                <dt>Services</dt>
                <dd><a href="${href(settings, ["services"])}">${grouped(catalog.size)}</a><small>${catalog.size === 0 ?
                  "none registered" :
                  unavailable === 0 ?
                  "each has an available instance" :
                  `${unavailable} without an available instance`}</small></dd>
              </div>
              <div>
                <dt>Instances</dt>
                <dd>${grouped(instances)}<small>${countsText(all)}${countsBar(all)}</small></dd>
              </div>
              <div>
                <dt>Available, last ${minutes} min</dt>
                <dd>${grouped(fleet.samplesOf().at(-1) ?? 0)}${sparkline(fleet.samplesOf(), minutes)}</dd>
              </div>
            </dl>
          `
        ),
        live(
          "attention",
          catalog === undefined ? html`` : html`
            <h2>Needs attention</h2>
            ${found.length === 0 && catalog.rejected.length === 0 ?
              html`<p class="quiet">Nothing: every service has an available instance, and no key is rejected.</p>` :
              html`<ul class="list">${
                found.slice(0, maxShown).map(({ service, text }) =>
                  html`<li><a href="${href(settings, ["services", service])}">${foreign(service)}</a>: ${text}</li>`
                )
              }${
                catalog.rejected.length > 0 ?
                  html`<li><a href="${href(settings, ["services"])}#foreign">${
                    count(catalog.rejected.length, "key")
                  }</a> of the namespace ${catalog.rejected.length === 1 ? "belongs" : "belong"} to no service</li>` :
                  ""
              }</ul>${
                found.length > maxShown ?
                  html`<p class="quiet">${found.length - maxShown} more on the <a href="${
                    href(settings, ["services"])
                  }">services</a> page.</p>` :
                  ""
              }`}
          `
        ),
        fixed(html`<h2>Last changes</h2>`),
        recentChanges(
          settings,
          fleet.entries,
          maxShown,
          html`Changes since this console started. <a href="${href(settings, ["timeline"])}">Timeline</a>`
        )
      ]
    }
  })
