/**
 * One service: its instances and its rejected keys.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { isAvailable, type ServiceInstance } from "../../registry/model/Instance.ts"
import { serviceName } from "../../registry/model/ServiceName.ts"
import { maxSamples, sampleMillis, type State, stateOf, states, summaryOf } from "../Fleet.ts"
import { type Html, html } from "../html.ts"
import { href } from "../layout.ts"
import { count, countsBar, countsText, foreign, grouped, sparkline, state } from "../text.ts"
import { fixed, join, live, rows } from "../view.ts"
import {
  cell,
  type Column,
  type Context,
  head,
  hidden,
  missing,
  type Page,
  paged,
  same,
  search,
  select,
  sorting,
  unknown
} from "./Context.ts"
import { recentChanges } from "./timeline.ts"

const columns: ReadonlyArray<Column> = [
  { label: "Instance", sort: "id" },
  { label: "State", sort: "state" },
  { label: "Endpoints" },
  { label: "Version", sort: "version" },
  { label: "Zone", sort: "zone" },
  { label: "Weight", sort: "weight", isDescending: true },
  { label: "Metadata" }
]

/** An instance or a rejected key. */
interface Listed {
  readonly id: string
  readonly state: State
  readonly instance?: ServiceInstance
  readonly why?: string
}

/** The sort orders of a table. Ids are unique, so they break ties. */
const sortKey: Readonly<Record<string, (listed: Listed) => string | number>> = {
  id: ({ id }) => id,
  state: ({ state }) => states.indexOf(state),
  version: ({ instance }) => instance?.version ?? "",
  zone: ({ instance }) => instance?.zone ?? "",
  weight: ({ instance }) => instance?.weight ?? -1
}

const textOf = ({ id, instance, why }: Listed): string =>
  [
    ...[id, why, instance?.version, instance?.zone, ...(instance?.endpoints ?? [])],
    ...Object.entries(instance?.metadata ?? {}).map(([name, value]) => `${name}=${value}`)
  ].join(" ").toLowerCase()

/** Metadata on one line. */
const labels = (metadata: ServiceInstance["metadata"]): Html => {
  const entries = Object.entries(metadata)
  const shown = entries.slice(0, 4).map(([name, value]) =>
    html`<span><span class="quiet">${foreign(name)}</span> ${
      foreign(value.length > 60 ? `${value.slice(0, 60)}…` : value)
    }</span>`
  )
  return html`${join(shown, ", ")}${
    entries.length > 4 ?
      html`
        <small>and ${entries.length - 4} more</small>
      ` :
      ""
  }`
}

/** The counts of each value of a member, as links that filter by it. */
const groups = (context: Context, label: string, name: string, counts: ReadonlyMap<string, number>): Html => {
  const sorted = Array.from(counts).filter(([value]) => value !== "").sort((a, b) => b[1] - a[1])
  if (sorted.length === 0) return html``
  const selected = context.query.get(name)
  return html`
    <div>
      <dt>${label}</dt>
      <dd><small>${join(
        sorted.slice(0, 8).map(([value, many]) =>
          html`<a href="${same(context, { [name]: value === selected ? "" : value, page: "" })}"${
            value === selected ?
              html`
                aria-current="true"
              ` :
              ""
          }>${foreign(value)}</a>${value === selected ? " (shown; select again for all)" : ""} ×${grouped(many)}`
        )
      )}</small></dd>
    </div>
  `
}

/** See the module's description. */
export const service: Page = (context) =>
  Effect.sync(() => {
    const { query, segments: [, name = ""], source: { fleet, knowledge, settings } } = context
    const { catalog } = fleet
    const set = fleet.setOf(name)
    const changes = fleet.entries.filter((entry) => entry.service === name)
    if (Result.isFailure(serviceName(name))) return missing(context, "This is not a valid service name.")
    const text = (query.get("q") ?? "").toLowerCase()
    const [wantedState, version, zone] = [query.get("state"), query.get("version"), query.get("zone")]
    const { isDescending, sort } = sorting(context, columns, "id")
    const keyOf = sortKey[sort] ?? sortKey["id"]!
    const all: ReadonlyArray<Listed> = set === undefined ? [] : [
      ...set.instances.map((instance): Listed => ({ id: instance.id, state: stateOf(instance), instance })),
      ...set.rejected.map(({ error, key }): Listed => ({
        id: fleet.idOf(name, key),
        state: "rejected",
        why: error.detail
      }))
    ]
    const found = all.filter((listed) =>
      (wantedState === null || wantedState === "" || listed.state === wantedState) &&
      (version === null || version === "" || listed.instance?.version === version) &&
      (zone === null || zone === "" || listed.instance?.zone === zone) &&
      (text === "" || textOf(listed).includes(text))
    ).sort((a, b) => {
      const [left, right] = [keyOf(a), keyOf(b)]
      const order = left < right ? -1 : left > right ? 1 : 0
      return (isDescending ? -order : order) || (a.id < b.id ? -1 : 1)
    })
    const { links, shown } = paged(context, found)
    const minutes = maxSamples * sampleMillis / 60_000
    return {
      title: name,
      knowledge: knowledge(),
      // A service without keys has no instances. Nothing shows whether it ever had some.
      status: catalog !== undefined && set === undefined && changes.length === 0 ? 404 : 200,
      data: found.map(({ id, instance, state, why }) => ({
        id,
        state,
        ...instance,
        ...(why === undefined ? {} : { why })
      })),
      blocks: [
        fixed(html`
          <p class="crumbs"><a href="${href(settings, ["services"])}">Services</a> /</p>
          <h1>${foreign(name)}</h1>
        `),
        live(
          "figures",
          set === undefined ? catalog === undefined ? unknown("are no instances") : html`` : html`
            <dl class="figures">
              <div><dt>Instances</dt><dd>${grouped(set.size)}<small>${countsText(summaryOf(set))}${countsBar(
                summaryOf(set)
              )}</small></dd></div>
              <div><dt>Available, last ${minutes} min</dt><dd>${grouped(summaryOf(set).available)}${sparkline(
                fleet.samplesOf(name),
                minutes
              )}</dd></div>
              ${groups(context, "Versions", "version", summaryOf(set).versions)}
              ${groups(context, "Zones", "zone", summaryOf(set).zones)}
            </dl>
          `
        ),
        fixed(html`
          <form data-filter action="${href(settings, ["services", name])}">
            ${search(context, "id, endpoint, metadata")}
            ${select(context, "state", { label: "State", choices: states })}
            ${hidden(context, ["version", "zone", "sort"])}
            <noscript><button>Filter</button></noscript>
            <a class="button" href="${same(context, { format: "json" })}" download="${name}.json">JSON</a>
          </form>
        `),
        catalog === undefined ? live("instances", html``) : rows({
          id: "instances",
          caption: html`${count(found.length, "key")}${
            found.length < all.length ?
              html`
                of ${grouped(all.length)}
              ` :
              ""
          }. Instances that are up and have a weight above 0 get traffic.`,
          head: head(context, columns, "id"),
          rows: shown.map(({ id, instance, state: found, why }) => ({
            key: id,
            cells: html`
              <th scope="row"><a href="${href(settings, ["services", name, id])}">${foreign(id)}</a></th>
              ${cell("State", state(found), "nowrap")}
              ${instance === undefined ?
                html`
                  <td data-label="Why" colspan="5">
                    <div>${why}</div>
                  </td>
                ` :
                html`
                  ${cell("Endpoints", join(instance.endpoints.map(foreign), " "), "mono")}
                  ${cell("Version", instance.version === undefined ? "" : foreign(instance.version))}
                  ${cell("Zone", instance.zone === undefined ? "" : foreign(instance.zone))}
                  ${cell("Weight", isAvailable(instance) || instance.weight !== 0 ? instance.weight : html`0`)}
                  ${cell("Metadata", labels(instance.metadata))}
                `}
            `
          })),
          empty: all.length === 0 ?
            html`No key below <code>${settings.prefix}${name}/</code> at this revision.` :
            html`No instance matches the filter.`
        }),
        live("pages", links),
        fixed(html`<h2>Changes</h2>`),
        recentChanges(settings, changes, 20)
      ]
    }
  })
