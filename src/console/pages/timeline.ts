/**
 * The changes since the console started, newest first.
 *
 * @module
 */
import { Effect } from "effect"
import type { Entry } from "../Fleet.ts"
import { type Html, html } from "../html.ts"
import { href } from "../layout.ts"
import type { Settings } from "../options.ts"
import { count, foreign, state, time } from "../text.ts"
import { type Block, fixed, type Row, rows } from "../view.ts"
import { cell, type Page, paged, search, select } from "./Context.ts"

const events = ["registered", "left", "changed", "rejected", "accepted"] as const

/** The columns of {@link changeRow}. */
const changeColumns: Html = html`${
  ["Instance", "Event", "State", "What changed", "When", "Revision"].map((label) => html`<th scope="col">${label}</th>`)
}`

const leftMark = html`<span class="state left"><svg aria-hidden="true"><use href="#s-left"/></svg>left</span>`

/** A change as a row. */
const changeRow = (settings: Settings, entry: Entry): Row => ({
  key: String(entry.sequence),
  cells: html`
    <th scope="row"><a href="${href(settings, ["services", entry.service])}">${foreign(
      entry.service
    )}</a> / <a href="${href(settings, ["services", entry.service, entry.id])}">${foreign(entry.id)}</a></th>
    ${cell("Event", entry.event, "nowrap")}
    ${cell("State", entry.event === "left" ? leftMark : state(entry.state), "nowrap")}
    ${cell("Changed", foreign(entry.detail))}
    ${cell("When", time(entry.at), "nowrap")}
    ${cell("Revision", entry.revision)}
  `
})

/** The table of the newest changes, for other pages. */
export const recentChanges = (
  settings: Settings,
  entries: ReadonlyArray<Entry>,
  maxShown: number,
  caption: Html = html`Changes since this console started`
): Block =>
  rows({
    id: "changes",
    caption,
    head: changeColumns,
    rows: entries.slice(0, maxShown).map((entry) => changeRow(settings, entry)),
    empty: html`No change since this console started.`
  })

/** A change as JSON. */
const changeData = ({ instance: _, ...entry }: Entry): unknown => ({
  ...entry,
  at: new Date(entry.at).toISOString(),
  revision: String(entry.revision)
})

/** See the module's description. */
export const timeline: Page = (context) =>
  Effect.sync(() => {
    const { query, source: { fleet, knowledge, settings } } = context
    const text = (query.get("q") ?? "").toLowerCase()
    const event = query.get("event") ?? ""
    const found = fleet.entries.filter((entry) =>
      (event === "" || entry.event === event) &&
      (text === "" || `${entry.service}/${entry.id} ${entry.detail}`.toLowerCase().includes(text))
    )
    const { links, shown } = paged(context, found)
    return {
      title: "Timeline",
      knowledge: knowledge(),
      data: found.map(changeData),
      blocks: [
        fixed(html`
          <h1>Timeline</h1>
          <p class="lead">What this console saw since it started, newest first, up to 1000 changes. A change between two
          updates of the watch is shown as one.</p>
          <form data-filter action="${href(settings, ["timeline"])}">
            ${search(context, "service, instance, text")}
            ${select(context, "event", { label: "Event", choices: events })}
            <noscript><button>Filter</button></noscript>
          </form>
        `),
        rows({
          id: "changes",
          caption: html`${count(found.length, "change")}`,
          head: changeColumns,
          rows: shown.map((entry) => changeRow(settings, entry)),
          empty: fleet.entries.length === 0 ?
            html`No change since this console started.` :
            html`No change matches the filter.`
        }),
        { _tag: "Live", id: "pages", content: links }
      ]
    }
  })
