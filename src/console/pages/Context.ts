/**
 * The input of a page, and the parts that several pages share.
 *
 * @module
 */
import type { Effect } from "effect"
import { type Child, type Html, html, nothing } from "../html.ts"
import { href } from "../layout.ts"
import type { Source } from "../Source.ts"
import { count } from "../text.ts"
import type { View } from "../view.ts"

/** The input of a page. */
export interface Context {
  readonly source: Source
  /** The decoded segments of the path below the console's own. */
  readonly segments: ReadonlyArray<string>
  readonly query: URLSearchParams
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** A page. It never fails, and shows unknown data as unknown. */
export type Page = (context: Context) => Effect.Effect<View>

/** Returns a link to this page with some parameters replaced. An empty parameter is removed. */
export const same = (
  { query, segments, source: { settings } }: Context,
  change: Readonly<Record<string, string>>
): string => href(settings, segments, { ...Object.fromEntries(query), ...change })

/** The parameters of the URL as hidden fields of a form. */
export const hidden = ({ query }: Context, names: ReadonlyArray<string>): ReadonlyArray<Html> =>
  names.filter((name) => query.get(name)).map((name) =>
    html`<input type="hidden" name="${name}" value="${query.get(name)}">`
  )

/** The search field of a filter, the parameter `q`. */
export const search = ({ query }: Context, placeholder: string): Html =>
  html`<label>Search <input type="search" name="q" value="${query.get("q")}" placeholder="${placeholder}"></label>`

/** A field of a filter whose parameter `name` is one of some choices, or empty for all. */
export const select = (
  { query }: Context,
  name: string,
  { all = "all", choices, label }: {
    readonly label: string
    readonly choices: ReadonlyArray<string>
    readonly all?: string
  }
): Html => {
  const option = (choice: string) =>
    html`<option${
      choice === query.get(name) ?
        html`
          selected
        ` :
        nothing
    }>${choice}</option>`
  return html`<label>${label} <select name="${name}"><option value="">${all}</option>${
    choices.map(option)
  }</select></label>`
}

/** A column of a table, sortable if it has `sort`. */
export interface Column {
  readonly label: string
  readonly sort?: string
  readonly isNumber?: boolean
  /** Whether the default order is descending, as for numbers. */
  readonly isDescending?: boolean
}

/** The sort order of a table in the URL. */
export const sorting = ({ query }: Context, columns: ReadonlyArray<Column>, otherwise: string) => {
  const [name = "", direction] = (query.get("sort") ?? "").split(".")
  const column = columns.find(({ sort }) => sort !== undefined && sort === name)
  return {
    sort: column?.sort ?? otherwise,
    isDescending: column === undefined ? false : direction === "desc"
  }
}

/** The head of a table. Sortable columns are links. */
export const head = (context: Context, columns: ReadonlyArray<Column>, otherwise: string): Html => {
  const { isDescending, sort } = sorting(context, columns, otherwise)
  return html`${
    columns.map((column) => {
      const isSorted = column.sort !== undefined && column.sort === sort
      const next = isSorted ? !isDescending : column.isDescending === true
      return html`
        <th scope="col" ${column.isNumber === true ?
          html`
            class="num"
          ` :
          nothing}${isSorted ?
          html`
            aria-sort="${isDescending ? "descending" : "ascending"}"
          ` :
          nothing}>${column.sort === undefined ?
          column.label :
          html`<a href="${same(context, { sort: `${column.sort}${next ? ".desc" : ""}`, page: "" })}">${column.label}${
            isSorted ? isDescending ? " ↓" : " ↑" : nothing
          }</a>`}</th>
      `
    })
  }`
}

/** A cell whose label appears on narrow screens. */
export const cell = (label: string, content: Child, kind: "" | "num" | "nowrap" | "mono" = ""): Html =>
  html`
    <td data-label="${label}" ${kind === "" ? nothing : html`
      class="${kind}"
    `}>
      <div>${content}</div>
    </td>
  `

/** The number of rows on a page of a table. */
export const pageSize = 100

/** Returns the rows of the page that the URL selects, and links to the other pages. */
export const paged = <A>(
  context: Context,
  all: ReadonlyArray<A>
): { readonly shown: ReadonlyArray<A>; readonly links: Html } => {
  const pages = Math.max(1, Math.ceil(all.length / pageSize))
  const page = Math.min(pages, Math.max(1, Math.floor(Number(context.query.get("page") ?? "1")) || 1))
  const first = (page - 1) * pageSize
  const link = (to: number, text: string, rel: string) =>
    to < 1 || to > pages ? nothing : html`<a rel="${rel}" href="${same(context, { page: String(to) })}">${text}</a>`
  return {
    shown: all.slice(first, first + pageSize),
    links: pages === 1 ? nothing : html`
      <nav class="pages" aria-label="Pages of the table">
        ${link(page - 1, "← previous", "prev")}
        <span>${first + 1} to ${Math.min(all.length, first + pageSize)} of ${count(all.length, "row")}</span>
        ${link(page + 1, "next →", "next")}
      </nav>
    `
  }
}

/** Replaces a table while its data is unknown. */
export const unknown = (what: string): Html =>
  html`
    <div class="notice warn">
      <p>Not known yet: etcd has not answered. That does not mean that there ${what}.</p>
    </div>
  `

/** A page for something that does not exist. */
export const missing = (context: Context, what: string): View => ({
  title: "Not found",
  status: 404,
  knowledge: context.source.knowledge(),
  data: { error: what },
  blocks: [{
    _tag: "Fixed",
    content: html`
      <h1>Not found</h1>
      <p>${what}</p>
      <p><a href="${href(context.source.settings, [])}">Overview</a></p>
    `
  }]
})
