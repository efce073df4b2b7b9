/**
 * The member of etcd that answers.
 *
 * @module
 */
import { Effect } from "effect"
import { html } from "../html.ts"
import { bytes, grouped } from "../text.ts"
import { fixed, live } from "../view.ts"
import { type Page, unknown } from "./Context.ts"

/** See the module's description. */
export const cluster: Page = Effect.fnUntraced(function* (context) {
  const { source } = context
  const { knowledge, value } = yield* source.read(
    "status",
    Effect.map(source.etcd.status, (status) => ({ revision: status.header.revision, value: status }))
  )
  return {
    title: "Cluster",
    knowledge,
    hasReadings: true,
    data: value === undefined ? undefined : { version: value.version, dbSize: String(value.dbSize) },
    blocks: [
      fixed(html`<h1>Cluster</h1>`),
      live(
        "status",
        value === undefined ? unknown("are no members") : html`
          <dl class="facts">
            <dt>Version</dt>
            <dd>${value.version}</dd>
            <dt>Database</dt>
            <dd>${bytes(value.dbSize)}</dd>
            <dt>Leader</dt>
            <dd class="mono">${value.leader.toString(16)}</dd>
            <dt>Raft</dt>
            <dd>term ${grouped(value.raftTerm)}, index ${grouped(value.raftIndex)}</dd>
          </dl>
        `
      )
    ]
  }
})
