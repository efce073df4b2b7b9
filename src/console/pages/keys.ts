/**
 * The keys of etcd as a tree, and one key with its value. Read-only.
 *
 * @module
 */
import { Effect } from "effect"
import { type Html, html } from "../html.ts"
import { href } from "../layout.ts"
import type { Settings } from "../options.ts"
import { type Child, children, keyHistory } from "../reads.ts"
import { bytes, count, foreign, grouped, leaseText } from "../text.ts"
import { fixed, live, type Row, rows, type View } from "../view.ts"
import { cell, type Context, type Page, unknown } from "./Context.ts"
import { keyFacts, valueHistory } from "./instance.ts"

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
const toHex = (key: Uint8Array): string => Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("")
const fromHex = (text: string): Uint8Array | undefined =>
  /^(?:[0-9a-f]{2})+$/.test(text) ?
    Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)) :
    undefined

/** The levels above a prefix, as links. */
const crumbs = (settings: Settings, prefix: string): Html => {
  const parts = prefix.split("/").filter((part, index) => part !== "" || index > 0)
  const links = parts.flatMap((part, index) => {
    if (part === "") return []
    const path = prefix.slice(0, prefix.startsWith("/") ? 1 : 0) + parts.slice(0, index + 1).join("/") + "/"
    return [html`<a href="${href(settings, ["keys"], { prefix: path })}">${foreign(part)}</a>/`]
  })
  return html`<p class="crumbs mono"><a href="${href(settings, ["keys"])}">all keys</a> ${
    prefix.startsWith("/") ? "/" : ""
  }${links}</p>`
}

const childRow = (settings: Settings, parent: string, child: Child): Row => {
  const key = decoder.decode(child._tag === "Key" ? child.kv.key : child.prefix)
  const name = foreign(key.slice(parent.length))
  return child._tag === "Folder" ?
    {
      key: `${key} folder`,
      cells: html`<th scope="row" class="mono"><a href="${href(settings, ["keys"], { prefix: key })}">${name}</a></th>
        ${cell("Holds", count(child.keys, "key"))}<td></td><td></td><td></td>`
    } :
    {
      key,
      cells: html`<th scope="row" class="mono"><a href="${href(settings, ["keys"], { key })}">${name}</a></th>
        ${cell("Holds", bytes(child.kv.value.length))}
        ${cell("Written at", grouped(child.kv.modRevision))}
        ${cell("Writes", child.kv.version)}
        ${
        cell("Lease", child.kv.lease === 0n ? html`<span class="quiet">none</span>` : leaseText(child.kv.lease), "mono")
      }`
    }
}

/** Returns whether the page may show the value of a key. */
export const mayShow = (settings: Settings, key: string): boolean =>
  settings.showsAllValues || key.startsWith(settings.prefix)

const oneKey = Effect.fnUntraced(function* (context: Context, key: string): Effect.fn.Return<View> {
  const { source } = context
  const { etcd, settings } = source
  const { knowledge, value } = yield* source.read(`history ${key}`, keyHistory(etcd, key))
  const parent = key.slice(0, key.replace(/\/$/, "").lastIndexOf("/") + 1)
  const isShown = mayShow(settings, key)
  return {
    title: key,
    knowledge,
    hasReadings: true,
    status: value !== undefined && value.current === undefined ? 404 : 200,
    data: { key, exists: value?.current !== undefined },
    blocks: [
      fixed(html`${crumbs(settings, parent)}<h1 class="mono">${foreign(key)}</h1>`),
      live(
        "key",
        value === undefined ? unknown("is no such key") : html`${keyFacts(value)}${
          isShown ? valueHistory(value) : html`
            <p
              class="notice">The value is hidden: the key is not in the namespace <code>${settings
                .namespace}</code>. Start the console with <code>--values all</code> to show it.</p>
          `
        }`
      )
    ]
  }
})

/** See the module's description. */
export const keys: Page = Effect.fnUntraced(function* (context) {
  const { query, source } = context
  const { etcd, settings } = source
  const key = query.get("key")
  if (key !== null && key !== "") return yield* oneKey(context, key)
  const parent = query.get("prefix") ?? ""
  const from = fromHex(query.get("from") ?? "")
  const { knowledge, value } = yield* source.read(
    `keys ${query.get("from") ?? ""} ${parent}`,
    children(etcd, parent, from)
  )
  return {
    title: parent === "" ? "Keys" : parent,
    knowledge,
    hasReadings: true,
    data: value?.children.map((child) => decoder.decode(child._tag === "Key" ? child.kv.key : child.prefix)),
    blocks: [
      fixed(html`
        ${parent === "" ? "" : crumbs(settings, parent)}
        <h1${parent === "" ? "" : html`
          class="mono"
        `}>${parent === "" ? "Keys" : foreign(parent)}</h1>
        <form data-filter action="${href(settings, ["keys"])}">
          <label>Prefix <input type="search" class="mono" name="prefix" value="${parent}" placeholder="${settings
            .prefix}"></label>
          <noscript><button>Show</button></noscript>
        </form>
      `),
      value === undefined ? live("keys", unknown("are no keys")) : rows({
        id: "keys",
        caption: html`${count(value.total, "key")} with this prefix`,
        head: html`${
          ["Name", "Holds", "Written at", "Writes", "Lease"].map((label) => html`<th scope="col">${label}</th>`)
        }`,
        rows: value.children.map((child) => childRow(settings, parent, child)),
        empty: html`No key starts with this prefix at this revision.`
      }),
      live(
        "pages",
        value?.next === undefined ?
          html`` :
          html`<p class="pages"><a rel="next" href="${
            href(settings, ["keys"], { prefix: parent, from: toHex(value.next) })
          }">next →</a></p>`
      )
    ]
  }
})
