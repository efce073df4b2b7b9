/**
 * A page as data: blocks that a live page replaces one by one, and the difference between two renderings.
 *
 * @module
 */
import { type Child, type Html, html } from "./html.ts"
import type { Knowledge } from "./Knowledge.ts"

/** A row of a table. */
export interface Row {
  /** Unique within the table. */
  readonly key: string
  /** The cells. */
  readonly cells: Html
}

/** A part of a page. */
export type Block =
  /** Static markup: forms and headings. */
  | { readonly _tag: "Fixed"; readonly content: Html }
  /** Markup that is replaced when it changes. */
  | { readonly _tag: "Live"; readonly id: string; readonly content: Html }
  /** A table whose rows are replaced one by one. */
  | {
    readonly _tag: "Rows"
    readonly id: string
    readonly caption: Html
    readonly head: Html
    readonly rows: ReadonlyArray<Row>
    /** Replaces the rows if there are none. */
    readonly empty: Html
  }

/** A page. */
export interface View {
  readonly title: string
  /** The freshness of the page. */
  readonly knowledge: Knowledge
  readonly blocks: ReadonlyArray<Block>
  /** Whether the page shows data besides the fleet, which may change while the fleet does not. */
  readonly hasReadings?: boolean
  /** The body for `?format=json`. */
  readonly data: unknown
  /** The status of the response. Default: 200. */
  readonly status?: number
}

export const fixed = (content: Html): Block => ({ _tag: "Fixed", content })
export const live = (id: string, content: Html): Block => ({ _tag: "Live", id, content })
export const rows = (block: Omit<Extract<Block, { readonly _tag: "Rows" }>, "_tag">): Block => ({
  _tag: "Rows",
  ...block
})

const rowHtml = ({ cells, key }: Row): Html => html`<tr data-key="${key}">${cells}</tr>`

/** The markup of a block. */
export const blockHtml = (block: Block): Html => {
  switch (block._tag) {
    case "Fixed":
      return block.content
    case "Live":
      return html`<div data-live="${block.id}">${block.content}</div>`
    case "Rows":
      return html`
        <div class="table" data-table="${block.id}">
          <table>
            <caption>${block.caption}</caption>
            <thead>
              <tr>${block.head}</tr>
            </thead>
            <tbody>${block.rows.map(rowHtml)}</tbody>
          </table>
          <div class="empty" ${block.rows.length > 0 ?
            html`
              hidden
            ` :
            ""}>${block.empty}</div>
        </div>
      `
  }
}

/** The keys and markup of a rendering, for the comparison with the next one. */
export type Rendered = ReadonlyMap<string, string | ReadonlyMap<string, string>>

/** The live parts of these blocks. */
export const renderedOf = (blocks: ReadonlyArray<Block>): Rendered => {
  const parts = new Map<string, string | ReadonlyMap<string, string>>()
  for (const block of blocks) {
    if (block._tag === "Live") parts.set(block.id, block.content.text)
    if (block._tag === "Rows") {
      parts.set(`${block.id} caption`, block.caption.text)
      parts.set(`${block.id} empty`, block.rows.length > 0 ? "" : block.empty.text)
      parts.set(block.id, new Map(block.rows.map((row) => [row.key, rowHtml(row).text])))
    }
  }
  return parts
}

/** The difference between two renderings. */
export interface Patch {
  /** The changed blocks with their content. */
  readonly live: ReadonlyArray<readonly [id: string, content: string]>
  readonly tables: ReadonlyArray<{
    readonly id: string
    /** The keys of all rows in order, if the order changed. */
    readonly order?: ReadonlyArray<string>
    readonly rows: ReadonlyArray<readonly [key: string, row: string]>
  }>
}

/** Returns the difference, or `undefined` if there is none. Without `from`, returns everything. */
export const diff = (from: Rendered | undefined, to: Rendered): Patch | undefined => {
  const live: Array<readonly [string, string]> = []
  const tables: Array<Patch["tables"][number]> = []
  for (const [id, part] of to) {
    const before = from?.get(id)
    if (before === part) continue
    if (typeof part === "string") {
      live.push([id, part])
      continue
    }
    const known = typeof before === "object" ? before : new Map<string, string>()
    const rows = Array.from(part).filter(([key, row]) => known.get(key) !== row)
    const order = Array.from(part.keys())
    const isSameOrder = typeof before === "object" && order.length === known.size &&
      Array.from(known.keys()).every((key, index) => key === order[index])
    if (rows.length > 0 || !isSameOrder) tables.push({ id, rows, ...(isSameOrder ? {} : { order }) })
  }
  return live.length === 0 && tables.length === 0 ? undefined : { live, tables }
}

/** Joins markup with a separator. */
export const join = (children: ReadonlyArray<Child>, separator: Child = ", "): Html =>
  html`${children.map((child, index) => index === 0 ? child : [separator, child])}`
