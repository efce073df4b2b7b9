/**
 * The frame of every page: head, navigation and freshness.
 *
 * @module
 */
import { Html, html, nothing } from "./html.ts"
import { type Knowledge, standingOf } from "./Knowledge.ts"
import { asset } from "./assets/assets.ts"
import type { Settings } from "./options.ts"
import { ago, grouped, shapes, time } from "./text.ts"
import { blockHtml, type View } from "./view.ts"

const pages = [
  ["", "Overview"],
  ["services", "Services"],
  ["timeline", "Timeline"],
  ["coordination", "Coordination"],
  ["keys", "Keys"],
  ["leases", "Leases"],
  ["cluster", "Cluster"]
] as const

/** Returns a link below the path of the console. Encodes segments and values. */
export const href = (
  { path }: Settings,
  segments: ReadonlyArray<string>,
  query: Readonly<Record<string, string | undefined>> = {}
): string => {
  const search = new URLSearchParams(
    Object.entries(query).flatMap(([name, value]) => value === undefined || value === "" ? [] : [[name, value]])
  ).toString()
  return `${path}/${segments.map(encodeURIComponent).join("/")}${search === "" ? "" : `?${search}`}`
}

const words = {
  live: "Live",
  stale: "Stale",
  disconnected: "Disconnected",
  unknown: "Nothing known yet"
} as const

/** The icons of these states. */
const marks = new Html(
  `<svg hidden><symbol id="m-live" viewBox="0 0 12 12"><circle cx="6" cy="6" r="5"/></symbol><symbol id="m-stale" viewBox="0 0 12 12"><path d="M1 1h10L6.8 6 11 11H1l4.2-5z"/></symbol><symbol id="m-disconnected" viewBox="0 0 12 12"><path d="M2.4 1 6 4.6 9.6 1 11 2.4 7.4 6 11 9.6 9.6 11 6 7.4 2.4 11 1 9.6 4.6 6 1 2.4z"/></symbol><symbol id="m-unknown" viewBox="0 0 12 12"><circle cx="6" cy="6" r="4.2" class="o"/></symbol><symbol id="m-paused" viewBox="0 0 12 12"><path d="M2 1h3v10H2zM7 1h3v10H7z"/></symbol></svg>`
)

/** The freshness of a page: its state, the revision, and the age of the last confirmation. */
export const standing = (knowledge: Knowledge, now: number, { limits }: Settings): Html => {
  const state = standingOf(knowledge, now, limits)
  const confirmed = knowledge._tag === "Known" ? knowledge.confirmedAt : 0
  return html`
    <div class="known ${state}" data-state="${knowledge._tag === "Known" && knowledge.failure !== undefined &&
        state === "live" ?
      "stale" :
      state}" data-confirmed="${confirmed}">
      <span class="mark"><svg aria-hidden="true"><use href="#m-${state}"/></svg><b>${words[state]}</b></span>
      ${knowledge._tag === "Known" ?
        html`<span class="claim">as of revision ${grouped(knowledge.revision)}, confirmed ${
          relative(confirmed, now)
        }</span>` :
        html`<span class="claim">etcd has not answered</span>`}
      <span class="why">${knowledge.failure}</span>
      <span class="why cut" hidden>The console does not answer; the page shows what it received last.</span>
    </div>
  `
}

/** A relative time that is correct without the script, too. */
const relative = (at: number, now: number): Html =>
  html`${new Html(time(at).text.replace(/>[^<]*</, `>${ago(now - at)} ago<`))}`

/** Renders the document of a page. */
export const document = (
  view: View,
  { events, now, page, settings, version }: {
    readonly settings: Settings
    readonly now: number
    /** The first segment of the path. */
    readonly page: string
    /** Whether the page is live. */
    readonly events: boolean
    /** The version that patches start from. */
    readonly version: string
  }
): Html =>
  html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${view.title} · ${settings.namespace}</title>
        <link rel="icon"
          href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 12 12'%3E%3Ccircle cx='6' cy='6' r='5' fill='%23298047'/%3E%3C/svg%3E">
        <link rel="stylesheet" href="${settings.path}/${asset.style.name}">
        <script type="module" src="${settings.path}/${asset.script.name}"></script>
      </head>
      <body data-path="${settings.path}" data-now="${now}" data-stale="${settings.limits
        .staleMillis}" data-lost="${settings.limits.disconnectedMillis}"
        data-version="${version}" ${events ?
          html`
            data-events="${settings.path}/events"
          ` :
          nothing}>
        <a class="skip" href="#main">Skip to the content</a>
        ${shapes}${marks}
        <header>
          <a class="brand" href="${href(settings, [])}">Discovery<small>${settings.namespace}</small></a>
          <nav aria-label="Pages"><ul>${pages.map(([segment, name]) =>
            html`<li><a href="${href(settings, segment === "" ? [] : [segment])}"${
              segment === page ?
                html`
                  aria-current="page"
                ` :
                nothing
            }>${name}</a></li>`
          )}</ul></nav>
        </header>
        <section class="standing" aria-label="Freshness of this page">
          <div data-live="standing">${standing(view.knowledge, now, settings)}</div>
          <button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
        </section>
        <main id="main" tabindex="-1">${view.blocks.map(blockHtml)}</main>
        <div id="waiting" class="waiting" hidden><button type="button">Rows are waiting to move. Show them now</button></div>
        <p id="status" class="sr" role="status"></p>
        <footer>${settings.allowWrites ?
          "This console can drain instances and change weights." :
          "Read-only."} Times are UTC. Press / to search.</footer>
      </body>
    </html>
  `
