/**
 * The leases of etcd, ordered by the time left.
 *
 * @module
 */
import { Effect } from "effect"
import { html } from "../html.ts"
import { href } from "../layout.ts"
import { leases as readLeases, maxLeases } from "../reads.ts"
import { count, foreign, leaseText } from "../text.ts"
import { fixed, join, live, rows } from "../view.ts"
import { cell, type Page, paged, search, unknown } from "./Context.ts"

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** See the module's description. */
export const leases: Page = Effect.fnUntraced(function* (context) {
  const { query, source } = context
  const { settings } = source
  const { knowledge, value } = yield* source.read("leases", readLeases(source.etcd))
  const text = (query.get("q") ?? "").toLowerCase()
  const all = (value?.leases ?? []).map((lease) => ({ ...lease, names: lease.keys.map((key) => decoder.decode(key)) }))
  const found = text === "" ?
    all :
    all.filter(({ id, names }) =>
      leaseText(id).includes(text) || names.some((name) => name.toLowerCase().includes(text))
    )
  const { links, shown } = paged(context, found)
  return {
    title: "Leases",
    knowledge,
    hasReadings: true,
    data: found.map(({ grantedTtl, id, names, ttl }) => ({ id: leaseText(id), ttl, grantedTtl, keys: names })),
    blocks: [
      fixed(html`
        <h1>Leases</h1>
        <p class="lead">A lease that nobody renews expires, and etcd deletes its keys. etcd renews every lease once when
        its leader changes.</p>
        <form data-filter action="${href(settings, ["leases"])}">
          ${search(context, "lease or key")}
          <noscript><button>Filter</button></noscript>
        </form>
      `),
      value === undefined ? live("leases", unknown("are no leases")) : rows({
        id: "leases",
        caption: html`${count(value.total, "lease")}${
          value.total > maxLeases ? `, of which ${maxLeases} were read` : ""
        }${found.length < all.length ? `; ${found.length} match` : ""}`,
        head: html`${["Lease", "Time left", "Granted", "Keys"].map((label) => html`<th scope="col">${label}</th>`)}`,
        rows: shown.map(({ grantedTtl, id, names, ttl }) => ({
          key: leaseText(id),
          cells: html`<th scope="row" class="mono">${leaseText(id)}</th>
            ${cell("Time left", html`${ttl} s${countdown(ttl, grantedTtl)}`, "nowrap")}
            ${cell("Granted", `${grantedTtl} s`, "nowrap")}
            ${
            cell(
              "Keys",
              names.length === 0 ? html`<span class="quiet">none</span>` : html`${
                join(
                  names.slice(0, 3).map((name) =>
                    html`<a href="${href(settings, ["keys"], { key: name })}">${foreign(name)}</a>`
                  )
                )
              }${names.length > 3 ? ` and ${names.length - 3} more` : ""}`,
              "mono"
            )
          }`
        })),
        empty: value.total === 0 ? html`No lease exists at this revision.` : html`No lease matches the filter.`
      }),
      live("pages", links)
    ]
  }
})

/** A bar that shows the share of the TTL that is left. */
const countdown = (ttl: number, grantedTtl: number) =>
  html`
    <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      <rect class="${ttl * 4 < grantedTtl ? "down" : "off"}" width="${(100 * Math.min(1, ttl / Math.max(1, grantedTtl)))
        .toFixed(0)}" height="6" />
    </svg>
  `
