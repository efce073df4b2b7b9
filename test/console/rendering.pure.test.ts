import { Redacted, Result } from "effect"
import assert from "node:assert/strict"
import { it } from "node:test"
import { Arbitrary, Effect, Schema } from "effect"
import { refusalOf, type Request } from "../../src/console/guard.ts"
import { escape, html } from "../../src/console/html.ts"
import { Knowledge, standingOf } from "../../src/console/Knowledge.ts"
import { parse } from "../../src/console/live.ts"
import { checkOptionsOf, type Options } from "../../src/console/options.ts"
import { ago, readable } from "../../src/console/text.ts"
import { diff, live, renderedOf, rows } from "../../src/console/view.ts"
import { checkOptions } from "../../src/internal/options.ts"
import { seed } from "../harness/seed.ts"

const settingsOf = (options: Options = {}) =>
  Result.getOrThrow(checkOptions("WebConsole.layer", (check) => checkOptionsOf(check, options)))

/** What a browser reads in escaped text. */
const parsed = (text: string): string =>
  text.replace(
    /&(amp|lt|gt|quot|#39);/g,
    (_, name: string) => ({ amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" })[name] ?? ""
  )

it("html escapes every interpolated text, in content and in attributes", () => {
  const hostile = `"><script>alert('x')</script>&amp;`
  const { text } = html`<p title="${hostile}">${[hostile, html`<b>${hostile}</b>`]}</p>`
  assert.ok(!text.includes("<script"))
  assert.equal(text.match(/<[^>]*>/g)?.join(""), `<p title="${escape(hostile)}"><b></b></p>`)
})

it("html preserves any text: a browser parses exactly the interpolated text", async () => {
  const arbitrary = Arbitrary.schema(Schema.String)
  const result = await Effect.runPromise(Arbitrary.checkEffect(arbitrary, (text) => {
    const escaped = escape(text)
    // deno-lint-ignore no-control-regex
    const visible = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (found) => escape(found))
    return Effect.succeed(parsed(escaped) === visible && !/[<>"']/.test(escaped))
  }, { runs: 500, seed }))
  assert.equal(result._tag, "Passed", Arbitrary.formatCheckFailure(result))
})

it("html refuses a template with an unquoted attribute", () => {
  assert.throws(() => html`<p title=${"a b"}></p>`, /not quoted/)
})

it("escape shows control characters, which HTML does not allow", () => {
  assert.equal(escape("a\u0000b\u001b[31m"), "a\u2400b\u241b[31m")
})

it("diff returns the changed rows, and the order if it changed", () => {
  const table = (...keys: ReadonlyArray<string>) =>
    renderedOf([
      live("note", html`<p>${keys.length}</p>`),
      rows({
        id: "t",
        caption: html`c`,
        head: html``,
        empty: html`none`,
        rows: keys.map((key) => ({ key: key.slice(0, 1), cells: html`<td>${key}</td>` }))
      })
    ])
  assert.equal(diff(table("a1", "b1"), table("a1", "b1")), undefined)
  const updated = diff(table("a1", "b1"), table("a1", "b2"))
  assert.deepEqual(updated, { live: [], tables: [{ id: "t", rows: [["b", `<tr data-key="b"><td>b2</td></tr>`]] }] })
  const added = diff(table("b1"), table("a1", "b1"))
  assert.deepEqual(added?.live, [["note", "<p>2</p>"]])
  assert.deepEqual(added?.tables, [{ id: "t", rows: [["a", `<tr data-key="a"><td>a1</td></tr>`]], order: ["a", "b"] }])
  assert.deepEqual(diff(table("a1", "b1"), table("b1"))?.tables, [{ id: "t", rows: [], order: ["b"] }])
  assert.deepEqual(diff(table("a1"), table())?.live, [["note", "<p>0</p>"], ["t empty", "none"]])
})

it("standingOf returns unknown, live, stale or disconnected by the age of the confirmation", () => {
  const limits = { staleMillis: 5000, disconnectedMillis: 20_000 }
  const known = (failure?: string) => Knowledge.Known({ revision: 1n, confirmedAt: 1000, failure })
  assert.equal(standingOf(Knowledge.Unknown({ failure: undefined }), 0, limits), "unknown")
  assert.equal(standingOf(known(), 5999, limits), "live")
  assert.equal(standingOf(known(), 6000, limits), "stale")
  assert.equal(standingOf(known("connection refused"), 1001, limits), "stale")
  assert.equal(standingOf(known("connection refused"), 21_000, limits), "disconnected")
})

const get = (headers: Request["headers"]): Request => ({ method: "GET", headers })
const post = (headers: Request["headers"]): Request => ({
  method: "POST",
  headers: { host: "localhost:8500", ...headers }
})

it("the guard serves loopback names only, unless hosts names others", () => {
  const settings = settingsOf()
  for (const host of ["localhost", "localhost:8500", "127.0.0.1:8500", "[::1]:8500", "LOCALHOST"]) {
    assert.equal(refusalOf(settings, get({ host })), undefined, host)
  }
  for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8500", "", undefined]) {
    assert.equal(refusalOf(settings, get({ host }))?.status, 421, String(host))
  }
})

it("the guard accepts a token as bearer or as the password of any user", () => {
  const settings = settingsOf({ auth: { token: Redacted.make("s3cret") }, hosts: ["console.example"] })
  const status = (authorization?: string) =>
    refusalOf(settings, get({ host: "console.example", ...(authorization === undefined ? {} : { authorization }) }))
      ?.status
  assert.equal(status(), 401)
  assert.equal(status("Bearer wrong"), 401)
  assert.equal(status("Bearer s3cret"), undefined)
  assert.equal(status(`Basic ${btoa("anybody:s3cret")}`), undefined)
  assert.equal(status(`Basic ${btoa("s3cret:")}`), 401)
  assert.equal(status("Basic !"), 401)
})

it("the guard compares user and password of basic authentication", () => {
  const settings = settingsOf({ auth: { username: "op", password: Redacted.make("a:b") } })
  const status = (user: string, password: string) =>
    refusalOf(settings, get({ host: "localhost", authorization: `Basic ${btoa(`${user}:${password}`)}` }))?.status
  assert.equal(status("op", "a:b"), undefined)
  assert.equal(status("op", "a"), 401)
  assert.equal(status("root", "a:b"), 401)
})

it("the guard refuses writes unless they are allowed and come from the console's own pages", () => {
  const own = { "sec-fetch-site": "same-origin" }
  assert.equal(refusalOf(settingsOf(), post(own))?.status, 403)
  const settings = settingsOf({ allowWrites: true })
  assert.equal(refusalOf(settings, post(own)), undefined)
  assert.equal(refusalOf(settings, post({ origin: "http://localhost:8500" })), undefined)
  for (const site of ["cross-site", "same-site", "none"]) {
    assert.equal(
      refusalOf(settings, post({ "sec-fetch-site": site, origin: "http://localhost:8500" }))?.status,
      403,
      site
    )
  }
  assert.equal(refusalOf(settings, post({ origin: "http://localhost:9999" }))?.status, 403)
  assert.equal(refusalOf(settings, post({}))?.status, 403)
})

it("WebConsole.layer refuses another host without auth, an empty secret and an invalid path", () => {
  const option = (options: Options) => {
    const checked = checkOptions("WebConsole.layer", (check) => checkOptionsOf(check, options))
    return Result.isFailure(checked) ? checked.failure.option : undefined
  }
  assert.equal(option({ hosts: ["console.example"] }), "hosts")
  assert.equal(option({ hosts: ["console.example"], insecure: true }), undefined)
  assert.equal(option({ hosts: ["console.example:80"], insecure: true }), "hosts")
  assert.equal(option({ auth: { token: Redacted.make("") } }), "auth")
  assert.equal(option({ path: "console" }), "path")
  assert.equal(option({ namespace: "a//b" }), "namespace")
  assert.equal(option({ staleAfter: "10 seconds", disconnectedAfter: "5 seconds" }), "disconnectedAfter")
})

it("parse decodes the segments of a path and keeps an invalid encoding unchanged", () => {
  const { query, segments } = parse("/services/a%2Fb/%zz?q=%3Cb%3E&state=up")
  assert.deepEqual(segments, ["services", "a/b", "%zz"])
  assert.equal(query.get("q"), "<b>")
})

it("readable formats JSON, other text, and bytes in hexadecimal", () => {
  const bytes = (text: string) => new TextEncoder().encode(text)
  assert.deepEqual(readable(bytes(`{"a":1}`)), { text: `{\n  "a": 1\n}`, format: "JSON" })
  assert.deepEqual(readable(bytes("plain")), { text: "plain", format: "text" })
  assert.deepEqual(readable(Uint8Array.of(0xff, 0x00)), { text: "ff 00", format: "bytes" })
})

it("ago rounds down to one unit", () => {
  assert.deepEqual([0, 59_999, 60_000, 7_200_000, 172_800_000].map(ago), ["0 s", "59 s", "1 min", "2 h", "2 d"])
})

it("readable shows the names and the numbers that a JSON text has", () => {
  // V8 may return the name `\\` for names of later texts (nodejs/node #63785).
  readable(new TextEncoder().encode('{"x":1,"\\\\":2}'))
  for (const text of ['{\n  "x": 1,\n  "\\t": 2\n}', '{"lease":7587862094012345678}']) {
    assert.deepEqual(readable(new TextEncoder().encode(text)), { text, format: "JSON" })
  }
})
