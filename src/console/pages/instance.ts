/**
 * One instance: its members, its key, its lease, the history of its value, and the reason if it is rejected.
 *
 * @module
 */
import { Effect, Option, Result } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { serviceName } from "../../registry/model/ServiceName.ts"
import { type Action, describeEdit, Stage } from "../Actions.ts"
import { stateOf } from "../Fleet.ts"
import { type Html, html } from "../html.ts"
import { href } from "../layout.ts"
import { type KeyHistory, keyHistory } from "../reads.ts"
import { bytes, count, foreign, grouped, leaseText, readable, state, time } from "../text.ts"
import { fixed, join, live } from "../view.ts"
import { type Context, missing, type Page } from "./Context.ts"
import { recentChanges } from "./timeline.ts"

const members = (instance: ServiceInstance): Html =>
  html`
    <dl class="facts">
      <dt>State</dt><dd>${state(stateOf(instance))}</dd>
      <dt>Endpoints</dt><dd class="mono">${join(instance.endpoints.map(foreign), html`<br>`)}</dd>
      <dt>Version</dt><dd>${instance.version === undefined ?
        html`<span class="quiet">none</span>` :
        foreign(instance.version)}</dd>
      <dt>Zone</dt><dd>${instance.zone === undefined ?
        html`<span class="quiet">none</span>` :
        foreign(instance.zone)}</dd>
      <dt>Weight</dt><dd>${instance.weight}</dd>
      ${Object.entries(instance.metadata).map(([name, value]) =>
        html`
          <dt>${foreign(name === "" ? "metadata" : name)}</dt>
          <dd>${foreign(value)}</dd>
        `
      )}
    </dl>
  `

/** The key, its revisions and its lease. */
export const keyFacts = ({ current, lease }: KeyHistory): Html =>
  current === undefined ? html`<p class="notice warn">etcd holds no such key at this revision.</p>` : html`
    <dl class="facts">
      <dt>Revisions</dt>
      <dd>created at ${grouped(current.createRevision)}, last written at ${grouped(current.modRevision)}, ${count(
        current.version,
        "write"
      )}</dd>
      <dt>Size</dt>
      <dd>${bytes(current.value.length)}</dd>
      <dt>Lease</dt>
      <dd>${lease === undefined ?
        html`none: this key stays when its owner ends` :
        lease.ttl < 0 ?
        html`<span class="mono">${leaseText(lease.id)}</span>, expired` :
        html`<span class="mono">${leaseText(lease.id)}</span>, ${lease.ttl} s left of ${lease.grantedTtl} s, ${
          count(lease.keys.length, "key")
        }`}</dd>
    </dl>
  `

/** The lines that differ, the older ones first. Only the first lines of long values are compared. */
const difference = (from: string, to: string): Html => {
  const maxLines = 200
  const [left, right] = [from.split("\n").slice(0, maxLines), to.split("\n").slice(0, maxLines)]
  const gone = new Set(left.filter((line) => !right.includes(line)))
  const lines: Array<Html> = []
  let index = 0
  for (const line of right) {
    while (index < left.length && gone.has(left[index] ?? "")) lines.push(html`<del>${left[index++]}</del>`)
    if (left.includes(line)) {
      index++
      lines.push(html`<span>${line}</span>`)
    } else lines.push(html`<ins>${line}</ins>`)
  }
  while (index < left.length) {
    if (gone.has(left[index] ?? "")) lines.push(html`<del>${left[index]}</del>`)
    index++
  }
  return html`<pre tabindex="0">${lines}</pre>`
}

const maxShownValue = 20_000

const valueText = ({ value }: KeyValue): string => {
  const { text } = readable(value)
  return text.length > maxShownValue ? `${text.slice(0, maxShownValue)}\n… ${bytes(value.length)} in all` : text
}

/** The values of a key, newest first, each with its difference from the one before. */
export const valueHistory = ({ isComplete, values }: KeyHistory): Html =>
  values.length === 0 ? html`` : html`
    <h2>Value</h2>
    <pre tabindex="0">${valueText(values[0]!)}</pre>
    <h2>History of the value</h2>
    ${values.slice(0, -1).map((kv, index) => {
      const previous = values[index + 1]!
      return html`<details${
        index === 0 ?
          html`
            open
          ` :
          ""
      }><summary>Revision ${grouped(kv.modRevision)} changed that of ${grouped(previous.modRevision)}</summary>${
        difference(valueText(previous), valueText(kv))
      }</details>`
    })}
    <p class="quiet">${isComplete ?
      values.length === 1 ? "The key was written once." : "These are all values since the key was created." :
      "etcd has compacted older values, or there are more than 20."}</p>
  `

/** The forms that change an instance, and the progress of earlier changes. */
const forms = ({ segments, source: { settings } }: Context): Html => {
  const path = href(settings, segments)
  const button = (action: string, label: string, explained: string) =>
    html`
      <form method="post"
        action="${path}"><input type="hidden" name="action" value="${action}"><button title="${explained}">${label}</button></form>
    `
  return html`
    <h2>Operate</h2>
    <div class="operate">
      ${button("drain", "Drain", "Takes the instance out of traffic. Its process keeps running.")}
      ${button("undrain", "Undrain", "Ends the draining.")}
      <form method="post" action="${path}">
        <input type="hidden" name="action" value="weight">
        <label>Weight <input type="number" name="weight" min="0" max="1000000" step="any" required></label>
        <button>Set weight</button>
      </form>
    </div>
  `
}

const step = (isDone: boolean, text: Html): Html =>
  html`<li${
    isDone ? "" : html`
      class="todo"
    `
  }>${text}</li>`

const steps = ({ edit, sentAt, stage }: Action): Html => {
  const sent = step(true, html`sent ${time(sentAt)}`)
  const stored = (revision: bigint) => step(true, html`stored at revision ${grouped(revision)}`)
  const [rest, kind] = Stage.$match(stage, {
    Sent: () => [html`${step(false, html`stored`)}${step(false, html`adopted by its owner`)}`, "warn"] as const,
    Refused: ({ why }) => [step(true, html`refused: ${why}`), "bad"] as const,
    Unchanged: () => [step(true, html`nothing to change`), "ok"] as const,
    Stored: ({ revision }) => [html`${stored(revision)}${step(false, html`adopted by its owner`)}`, "warn"] as const,
    Adopted: ({ how, revision }) => [html`${stored(revision)}${step(true, html`adopted: ${how}`)}`, "ok"] as const,
    NotAdopted: ({ revision, why }) =>
      [html`${stored(revision)}${step(true, html`not adopted: ${why}`)}`, "bad"] as const
  })
  return html`<div class="notice ${kind}"><strong>${
    describeEdit(edit)
  }</strong><ol class="steps">${sent}${rest}</ol></div>`
}

/** See the module's description. */
export const instance: Page = Effect.fnUntraced(function* (context) {
  const { segments: [, name = "", id = ""], source } = context
  const { etcd, fleet, knowledge, settings } = source
  const { catalog } = fleet
  if (Result.isFailure(serviceName(name)) || id === "") return missing(context, "This is not a valid instance name.")
  const key = `${settings.prefix}${name}/${id}`
  const set = fleet.setOf(name)
  const found = set === undefined ? undefined : Option.getOrUndefined(set.get(id))
  const rejected = set?.rejected.find((one) => one.key === key)
  const changes = fleet.entries.filter((entry) => entry.service === name && entry.id === id)
  const last = changes.find((entry) => entry.instance !== undefined)?.instance
  const reading = yield* source.read(`history ${key}`, keyHistory(etcd, key))
  const isGone = catalog !== undefined && found === undefined && rejected === undefined
  const problem = reading.knowledge.failure
  return {
    title: `${name} / ${id}`,
    knowledge: knowledge(),
    hasReadings: true,
    status: isGone && changes.length === 0 ? 404 : 200,
    data: { key, instance: found, rejected: rejected?.error.detail },
    blocks: [
      fixed(html`
        <p class="crumbs"><a href="${href(settings, ["services"])}">Services</a> / <a href="${href(settings, [
          "services",
          name
        ])}">${foreign(name)}</a> /</p>
        <h1>${foreign(id)}</h1>
        <p class="lead mono">${foreign(key)}</p>
      `),
      live(
        "instance",
        catalog === undefined ?
          html`
            <div class="notice warn">
              <p>Not known yet: etcd has not answered.</p>
            </div>
          ` :
          found !== undefined ?
          members(found) :
          rejected !== undefined ?
          html`
            <div class="notice bad">
              <p>${state("rejected")}: ${rejected.error.detail}.</p>
              <p>Callers do not see this key. Its owner has to write another value, or an operator deletes the key.</p>
            </div>
          ` :
          html`<div class="notice warn"><p>${
            changes.length > 0 ?
              "This instance has left: etcd no longer holds its key. Below is its last known state." :
              "etcd holds no such key at this revision."
          }</p></div>${last === undefined ? "" : members(last)}`
      ),
      live("forms", settings.allowWrites && found !== undefined ? forms(context) : html``),
      live("actions", html`${source.actions.of(name, id).slice(0, 5).map(steps)}`),
      live(
        "key",
        html`${
          reading.value === undefined ?
            html`<p class="notice warn">The key could not be read: ${problem}</p>` :
            html`<h2>Key</h2>${
              problem === undefined ?
                "" :
                html`<p class="notice warn">Read before etcd stopped answering: ${problem}</p>`
            }${keyFacts(reading.value)}${valueHistory(reading.value)}`
        }`
      ),
      fixed(html`<h2>Changes</h2>`),
      recentChanges(settings, changes, 50)
    ]
  }
})
