/**
 * Locks, elections and semaphores: holders and waiters, in queue order.
 *
 * @module
 */
import { Effect } from "effect"
import { prefix } from "../../etcd/KeyRange.ts"
import { html } from "../html.ts"
import { href } from "../layout.ts"
import { type Line, lines, maxSearched } from "../reads.ts"
import { count, foreign, grouped, leaseText, readable } from "../text.ts"
import { fixed, live, rows } from "../view.ts"
import { cell, type Page, unknown } from "./Context.ts"
import { mayShow } from "./keys.ts"

/** Derives the kind of the queue from the value of its first contender. */
const kindOf = ({ contenders: [first] }: Line): { readonly kind: string; readonly holders: number } => {
  const value = first === undefined ? "" : new TextDecoder().decode(first.value.subarray(0, 16))
  if (value === "") return { kind: "lock", holders: 1 }
  return /^[1-9]\d{0,3}$/.test(value) ?
    { kind: `semaphore or election`, holders: Number(value) } :
    { kind: "election", holders: 1 }
}

/** See the module's description. */
export const coordination: Page = Effect.fnUntraced(function* (context) {
  const { query, source } = context
  const { etcd, settings } = source
  const wanted = query.get("prefix") ?? ""
  const namespace = prefix(settings.prefix)
  // Instances are not contenders: without a prefix the search omits the namespace.
  const ranges = wanted === "" ?
    [{ key: new Uint8Array(1), rangeEnd: namespace.key }, { key: namespace.rangeEnd, rangeEnd: new Uint8Array(1) }] :
    [prefix(wanted)]
  const { knowledge, value } = yield* source.read(`lines ${wanted}`, lines(etcd, ranges))
  return {
    title: "Coordination",
    knowledge,
    hasReadings: true,
    data: value?.lines.map(({ contenders, name }) => ({
      name,
      contenders: contenders.map(({ createRevision, key, lease }) => ({
        key,
        lease: leaseText(lease),
        createRevision: String(createRevision)
      }))
    })),
    blocks: [
      fixed(html`
        <h1>Coordination</h1>
        <p class="lead">Keys that end in the id of their own lease, as locks, elections and semaphores write them. The
        oldest key of a line holds it; the others wait in order of their create revision, which is also the fencing
        token.</p>
        <form data-filter action="${href(settings, ["coordination"])}">
          <label>Prefix <input type="search" class="mono" name="prefix" value="${wanted}" placeholder="/locks/"></label>
          <noscript><button>Show</button></noscript>
        </form>
      `),
      value === undefined ? live("lines", unknown("are no locks")) : rows({
        id: "lines",
        caption: html`${count(value.lines.length, "line")}${
          value.isComplete ? "" : `; only the first ${grouped(maxSearched)} keys were searched: give a prefix`
        }`,
        head: html`${
          ["Name and contender", "Place", "Value", "Create revision", "Lease"].map((label) =>
            html`<th scope="col">${label}</th>`
          )
        }`,
        rows: value.lines.flatMap((line) => {
          const { holders, kind } = kindOf(line)
          return line.contenders.slice(0, 100).map((contender, place) => {
            const holds = place < holders
            const { text } = readable(contender.value)
            return {
              key: contender.key,
              cells: html`
                <th scope="row"><a class="mono" href="${href(settings, ["keys"], { key: contender.key })}">${foreign(
                  line.name
                )}</a>${place === 0 ?
                  html`
                    <small>${kind}, ${count(line.contenders.length, "contender")}</small>
                  ` :
                  ""}</th>
                ${cell(
                  "Place",
                  holds ?
                    html`<span class="state up"><svg aria-hidden="true"><use href="#s-up"/></svg>holds</span>` :
                    html`
                      <span
                        class="state starting"><svg aria-hidden="true"><use href="#s-starting"/></svg>waits, ${place -
                          holders + 1} of ${line.contenders.length - holders}</span>
                    `,
                  "nowrap"
                )}
                ${cell(
                  "Value",
                  text === "" ?
                    html`<span class="quiet">empty</span>` :
                    mayShow(settings, contender.key) ?
                    foreign(text.slice(0, 200)) :
                    html`<span class="quiet">hidden</span>`
                )}
                ${cell("Create revision", grouped(contender.createRevision))}
                ${cell("Lease", leaseText(contender.lease), "mono")}
              `
            }
          })
        }),
        empty: html`No lock, election or semaphore was found at this revision.`
      })
    ]
  }
})
