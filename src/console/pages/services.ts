/**
 * All services of the namespace.
 *
 * @module
 */
import { Effect } from "effect"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import { type Fleet, maxSamples, sampleMillis, states, summaryOf } from "../Fleet.ts"
import { html } from "../html.ts"
import { href } from "../layout.ts"
import type { Settings } from "../options.ts"
import { count, countsBar, countsText, foreign, sparkline, time } from "../text.ts"
import { fixed, join, live, type Row, rows } from "../view.ts"
import { cell, type Column, head, hidden, type Page, paged, search, select, sorting, unknown } from "./Context.ts"

const columns: ReadonlyArray<Column> = [
  { label: "Service", sort: "name" },
  { label: "Instances", sort: "instances", isDescending: true },
  { label: "Available", sort: "available" },
  { label: "Versions" },
  { label: "Zones" },
  { label: "15 min" },
  { label: "Last change", sort: "change", isDescending: true }
]

interface Listed {
  readonly name: string
  readonly set: InstanceSet
}

const orders: Readonly<Record<string, (fleet: Fleet) => (a: Listed, b: Listed) => number>> = {
  name: () => (a, b) => a.name < b.name ? -1 : 1,
  instances: () => (a, b) => summaryOf(a.set).total - summaryOf(b.set).total,
  available: () => (a, b) => summaryOf(a.set).available - summaryOf(b.set).available,
  change: (fleet) => (a, b) => (fleet.lastChange(a.name) ?? 0) - (fleet.lastChange(b.name) ?? 0)
}

/** The most frequent values of a member, with their counts if there are several. */
const shares = (counts: ReadonlyMap<string, number>) => {
  const sorted = Array.from(counts).filter(([name]) => name !== "").sort((a, b) => b[1] - a[1])
  if (sorted.length === 0) return html`<span class="quiet">none</span>`
  const shown = sorted.slice(0, 3).map(([name, many]) =>
    sorted.length === 1 ? foreign(name) : html`${foreign(name)} <small>×${many}</small>`
  )
  return html`${join(shown)}${
    sorted.length > 3 ?
      html`
        <small>and ${sorted.length - 3} more</small>
      ` :
      ""
  }`
}

const row = (settings: Settings, fleet: Fleet, { name, set }: Listed): Row => {
  const summary = summaryOf(set)
  const change = fleet.lastChange(name)
  return {
    key: name,
    cells: html`
      <th scope="row"><a href="${href(settings, ["services", name])}">${foreign(name)}</a></th>
      ${cell("Instances", html`${countsText(summary)}${countsBar(summary)}`)}
      ${cell("Available", summary.available)}
      ${cell("Versions", shares(summary.versions))}
      ${cell("Zones", shares(summary.zones))}
      ${cell("15 min", sparkline(fleet.samplesOf(name), maxSamples * sampleMillis / 60_000))}
      ${cell("Last change", change === undefined ? html`<span class="quiet">none seen</span>` : time(change), "nowrap")}
    `
  }
}

/** See the module's description. */
export const services: Page = (context) =>
  Effect.sync(() => {
    const { query, source: { fleet, knowledge, settings } } = context
    const { catalog } = fleet
    const text = (query.get("q") ?? "").toLowerCase()
    const state = states.find((name) => name === query.get("state"))
    const { isDescending, sort } = sorting(context, columns, "name")
    const compare = (orders[sort] ?? orders["name"]!)(fleet)
    const found = Array.from(catalog ?? [], ([name, set]): Listed => ({ name, set }))
      .filter(({ name, set }) =>
        (text === "" || name.toLowerCase().includes(text)) && (state === undefined || summaryOf(set).counts[state] > 0)
      )
      .sort((a, b) => (isDescending ? -1 : 1) * compare(a, b) || (a.name < b.name ? -1 : 1))
    const { links, shown } = paged(context, found)
    return {
      title: "Services",
      knowledge: knowledge(),
      data: found.map(({ name, set }) => {
        const { available, counts, versions, zones } = summaryOf(set)
        return { name, available, counts, versions: Object.fromEntries(versions), zones: Object.fromEntries(zones) }
      }),
      blocks: [
        fixed(html`
          <h1>Services</h1>
          <form data-filter action="${href(settings, ["services"])}">
            ${search(context, "name of a service")}
            ${select(context, "state", { label: "With instances that are", choices: states, all: "in any state" })}
            ${hidden(context, ["sort"])}
            <noscript><button>Filter</button></noscript>
          </form>
        `),
        catalog === undefined ? live("services", unknown("are no services")) : rows({
          id: "services",
          caption: html`${count(found.length, "service")}${
            found.length < catalog.size ?
              html`
                of ${catalog.size}
              ` :
              ""
          }`,
          head: head(context, columns, "name"),
          rows: shown.map((listed) => row(settings, fleet, listed)),
          empty: catalog.size === 0 ?
            html`The namespace <code>${settings.namespace}</code> holds no service at this revision.` :
            html`No service matches the filter.`
        }),
        live("pages", links),
        live(
          "foreign",
          catalog === undefined || catalog.rejected.length === 0 ? html`` : html`
            <h2 id="foreign">Keys of the namespace that belong to no service</h2>
            <ul class="list">${catalog.rejected.slice(0, 100).map(({ error, key }) =>
              html`<li><a class="mono" href="${href(settings, ["keys"], { key })}">${
                foreign(key)
              }</a>: ${error.detail}</li>`
            )}</ul>
          `
        )
      ]
    }
  })
