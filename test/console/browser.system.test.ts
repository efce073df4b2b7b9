import { Effect, Layer, type Scope } from "effect"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import type { Page } from "playwright-core"
import { registerService, Registry } from "../../mod.ts"
import { Election, Lock } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdGrpc, EtcdMemory } from "../../src/etcd/mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live as test } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { attempt, eventually } from "../harness/real.ts"
import { live, openBrowser, openConsole, openPage, row, whyNoBrowser } from "./browser.ts"

const options = { timeout: 180_000, ...(whyNoBrowser === undefined ? {} : { skip: whyNoBrowser }) }

type Needs = Etcd | Registry.Registry | Scope.Scope

const onEngine = <E>(body: Effect.Effect<void, E, Needs>) =>
  body.pipe(Effect.scoped, Effect.provide(Registry.layer().pipe(Layer.orDie, Layer.provideMerge(EtcdMemory.layer()))))

const onServer = <E>(endpoint: string, body: Effect.Effect<void, E, Needs>) =>
  body.pipe(
    Effect.scoped,
    Effect.provide(
      Registry.layer().pipe(Layer.orDie, Layer.provideMerge(Layer.orDie(EtcdGrpc.layer({ endpoints: [endpoint] }))))
    )
  )

/** Puts an instance under a lease that nobody renews. */
const putInstance = Effect.fnUntraced(function* (id: string, ttl: number, service = "orders") {
  const etcd = yield* Etcd
  const { id: lease } = yield* etcd.leaseGrant({ ttl })
  yield* etcd.put({ key: `/services/${service}/${id}`, value: `{"endpoints":["http://${id}:80"]}`, lease })
})

/** Marks the document, so that a reload shows. */
const mark = (page: Page) => page.evaluate(() => void Object.assign(globalThis, { isSameDocument: true }))
const isMarked = (page: Page) => page.evaluate(() => "isSameDocument" in globalThis)

const median = (numbers: ReadonlyArray<number>) =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

describe("console in a browser", () => {
  test(
    "an open console page shows an instance that appears, drains and expires, within a second and without a reload",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        yield* onServer(
          server.endpoint,
          Effect.gen(function* () {
            yield* putInstance("first", 600)
            const browser = yield* openBrowser
            const { page, problems } = yield* openPage(browser)
            const base = yield* openConsole()
            yield* attempt(() => page.goto(`${base}/services/orders`))
            yield* attempt(() => live(page))
            yield* attempt(() => mark(page))
            const delays: Array<number> = []
            for (let index = 0; index < 5; index++) {
              yield* putInstance(`added-${index}`, 600)
              const startedAt = performance.now()
              yield* attempt(() => row(page, "instances", `added-${index}`).waitFor())
              delays.push(performance.now() - startedAt)
            }
            console.log(`an instance appears after ${delays.map((delay) => delay.toFixed(0)).join(", ")} ms`)
            assert.ok(median(delays) < 1000, String(delays))

            const registration = yield* registerService("orders", { id: "mine", endpoints: ["http://mine:80"] })
            yield* attempt(() => row(page, "instances", "mine").locator(".state.up").waitFor())
            yield* registration.drain
            yield* attempt(() => row(page, "instances", "mine").locator(".state.draining").waitFor())

            yield* putInstance("expiring", 2)
            yield* attempt(() => row(page, "instances", "expiring").waitFor())
            yield* attempt(() => row(page, "instances", "expiring").waitFor({ state: "detached" }))
            assert.equal(yield* attempt(() => isMarked(page)), true)
            assert.deepEqual(problems, [])
          })
        )
      }),
    options
  )

  test(
    "a console page becomes stale, then disconnected, while etcd is stopped, keeps its rows, and recovers",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        yield* onServer(
          server.endpoint,
          Effect.gen(function* () {
            yield* putInstance("a", 600)
            const { page, problems } = yield* openPage(yield* openBrowser)
            const base = yield* openConsole({ staleAfter: "3 seconds", disconnectedAfter: "6 seconds" })
            yield* attempt(() => page.goto(`${base}/services/orders`))
            yield* attempt(() => live(page))
            yield* server.pause
            yield* attempt(() => page.locator(".known.stale").waitFor())
            assert.match(yield* attempt(() => page.locator(".mark").innerText()), /Stale/)
            yield* attempt(() => page.locator(".known.disconnected").waitFor())
            assert.match(yield* attempt(() => page.locator(".mark").innerText()), /Disconnected/)
            assert.equal(yield* attempt(() => row(page, "instances", "a").count()), 1)
            yield* server.resume
            yield* attempt(() => live(page))
            yield* putInstance("b", 600)
            yield* attempt(() => row(page, "instances", "b").waitFor())
            yield* server.kill("SIGKILL")
            yield* attempt(() => page.locator(".known.disconnected").waitFor())
            yield* server.start
            yield* attempt(() => live(page))
            assert.equal(yield* attempt(() => row(page, "instances", "b").count()), 1)
            assert.deepEqual(problems, [])
          })
        )
      }),
    options
  )

  test(
    "a console page filters, sorts and pages 10,000 instances through the URL, and updates only changed rows",
    () =>
      onEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
        const name = (index: number) => `i${String(index).padStart(5, "0")}`
        const value = (index: number, weight = 1) =>
          JSON.stringify({ endpoints: [`http://10.0.${index >> 8}.${index & 255}:80`], zone: `z${index % 3}`, weight })
        for (let start = 0; start < 10_000; start += 100) {
          yield* etcd.txn({
            then: Array.from({ length: 100 }, (_, offset) => ({
              _tag: "Put" as const,
              request: { key: `/services/big/${name(start + offset)}`, value: value(start + offset), lease }
            }))
          })
        }
        const { page, problems } = yield* openPage(yield* openBrowser)
        const base = yield* openConsole()
        yield* attempt(() => page.goto(`${base}/services/big`))
        yield* attempt(() => live(page))
        const caption = page.locator("[data-table=instances] caption")
        assert.match(yield* attempt(() => caption.innerText()), /^10.000 keys/)
        assert.equal(yield* attempt(() => page.locator("[data-table=instances] tbody tr").count()), 100)
        yield* attempt(() => mark(page))

        const startedAt = performance.now()
        yield* attempt(() => page.getByLabel("Search").fill("i0777"))
        yield* attempt(() => caption.getByText("10 keys of 10").waitFor())
        console.log(`10,000 instances are filtered in ${(performance.now() - startedAt).toFixed(0)} ms`)
        assert.match(page.url(), /[?&]q=i0777(&|$)/)
        yield* attempt(() => page.getByRole("link", { name: "Instance ↑" }).click())
        yield* attempt(() => row(page, "instances", "i07779").waitFor())
        yield* attempt(() => page.locator("th[aria-sort=descending]").waitFor())
        const first = page.locator("[data-table=instances] tbody tr").first()
        assert.equal(yield* attempt(() => first.getAttribute("data-key")), "i07779")

        const other = yield* attempt(() => row(page, "instances", "i07771").elementHandle())
        yield* etcd.put({ key: "/services/big/i07775", value: value(7775, 0), lease })
        yield* attempt(() => row(page, "instances", "i07775").locator(".state.off").waitFor())
        assert.equal(yield* attempt(() => other?.evaluate((node) => node.isConnected) ?? Promise.resolve(false)), true)

        yield* attempt(() => page.goBack())
        yield* attempt(() => page.goto(`${base}/services/big?zone=z1&page=2`))
        yield* attempt(() => page.getByText("101 to 200 of").waitFor())
        yield* attempt(() => live(page))
        yield* attempt(() => page.getByRole("link", { name: "next →" }).click())
        yield* attempt(() => page.getByText("201 to 300 of").waitFor())
        assert.match(page.url(), /zone=z1/)
        assert.deepEqual(problems, [])
      })),
    options
  )

  test(
    "a console page moves no rows while the focus is in their table, and a pause stops it",
    () =>
      onEngine(Effect.gen(function* () {
        yield* putInstance("b", 600)
        const { page, problems } = yield* openPage(yield* openBrowser)
        yield* attempt(() => page.goto("about:blank"))
        const base = yield* openConsole()
        yield* attempt(() => page.goto(`${base}/services/orders`))
        yield* attempt(() => live(page))
        yield* attempt(() =>
          page.locator("[data-table=instances]").getByRole("link", { name: "b", exact: true }).focus()
        )
        yield* putInstance("a", 600)
        const waiting = page.getByRole("button", { name: /Show them now/ })
        yield* attempt(() => waiting.waitFor())
        assert.equal(yield* attempt(() => row(page, "instances", "a").count()), 0)
        yield* attempt(() => waiting.click())
        yield* attempt(() => row(page, "instances", "a").waitFor())
        assert.equal(yield* attempt(() => waiting.isVisible()), false)

        yield* attempt(() => page.getByRole("button", { name: "Pause" }).click())
        yield* attempt(() => page.locator(".known.paused").waitFor())
        yield* putInstance("c", 600)
        const { page: other } = yield* openPage(yield* openBrowser)
        yield* attempt(() => other.goto(`${base}/services/orders`))
        yield* attempt(() => row(other, "instances", "c").waitFor())
        assert.equal(yield* attempt(() => row(page, "instances", "c").count()), 0)
        yield* attempt(() => page.getByRole("button", { name: "Resume" }).click())
        yield* attempt(() => row(page, "instances", "c").waitFor())
        assert.deepEqual(problems, [])
      })),
    options
  )

  test(
    "a drain by keyboard is stored, then adopted by the owner (R12)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const env = { ETCD_ENDPOINTS: server.endpoint, INSTANCE_ID: "real" }
        const program = yield* runProgram({
          file: fileURLToPath(new URL("../registry/programs/registered.ts", import.meta.url)),
          env
        })
        yield* program.awaitLine("registered")
        yield* onServer(
          server.endpoint,
          Effect.gen(function* () {
            const { page, problems } = yield* openPage(yield* openBrowser)
            const base = yield* openConsole({ allowWrites: true })
            yield* attempt(() => page.goto(base))
            yield* attempt(() => live(page))
            const press = (...keys: ReadonlyArray<string>) =>
              attempt(async () => {
                for (const key of keys) await page.keyboard.press(key)
              })
            /** Moves on with the tab key until an element with this text has the focus. */
            const tabTo = (text: string) =>
              attempt(async () => {
                for (let presses = 0; presses < 60; presses++) {
                  await page.keyboard.press("Tab")
                  const focused = await page.evaluate<string>("document.activeElement?.textContent")
                  if (focused === text) return
                }
                throw new Error(`the tab key does not reach ${text}`)
              })
            yield* press("Tab")
            assert.equal(
              yield* attempt(() => page.evaluate<string>("document.activeElement?.textContent")),
              "Skip to the content"
            )
            yield* tabTo("Services")
            yield* press("Enter")
            yield* attempt(() => page.waitForURL("**/services"))
            yield* press("/")
            yield* attempt(() => page.keyboard.type("ord"))
            yield* attempt(() => page.waitForURL("**/services?q=ord"))
            yield* tabTo("orders")
            yield* press("Enter")
            yield* attempt(() => page.waitForURL("**/services/orders"))
            yield* tabTo("real")
            yield* press("Enter")
            yield* attempt(() => page.waitForURL("**/services/orders/real"))
            yield* tabTo("Drain")
            yield* press("Enter")
            yield* attempt(() => page.getByText("stored at revision").waitFor())
            yield* attempt(() => page.getByText("adopted: its owner").waitFor())
            yield* attempt(() => page.locator("[data-live=instance] .state.draining").waitFor())
            assert.deepEqual(problems, [])
          })
        )
        // The owner publishes `draining` by itself after it has lost its lease: it has adopted the change.
        yield* onServer(
          server.endpoint,
          Effect.gen(function* () {
            const etcd = yield* Etcd
            const { kvs: [kv] } = yield* etcd.range({ key: "/services/orders/real" })
            assert.ok(kv !== undefined)
            yield* etcd.leaseRevoke(kv.lease)
            const value = yield* eventually(
              Effect.flatMap(etcd.range({ key: "/services/orders/real" }), ({ kvs: [found] }) =>
                found === undefined ?
                  Effect.fail(new Error("no key")) :
                  Effect.succeed(new TextDecoder().decode(found.value)))
            )
            assert.match(value, /"status":"draining"/)
          })
        )
      }),
    options
  )

  test(
    "console pages are complete without JavaScript: filters work, and an instance can be drained",
    () =>
      onEngine(Effect.gen(function* () {
        yield* registerService("orders", { id: "a", endpoints: ["http://a:80"], ttl: "2 seconds" })
        yield* registerService("payments", { id: "b", endpoints: ["http://b:80"] })
        const { page, problems } = yield* openPage(yield* openBrowser, { javaScriptEnabled: false })
        const base = yield* openConsole({ allowWrites: true })
        yield* eventually(Effect.flatMap(
          attempt(() => fetch(`${base}/services`).then((response) => response.text())),
          (text) => text.includes("payments") ? Effect.void : Effect.fail(new Error(text))
        ))
        yield* attempt(() => page.goto(`${base}/services`))
        assert.match(
          yield* attempt(() => page.locator(".known").innerText()),
          /Live\s+as of revision \d+, confirmed \d+ s ago/
        )
        yield* attempt(() => page.getByLabel("Search").fill("ord"))
        yield* attempt(() => page.getByRole("button", { name: "Filter" }).click())
        yield* attempt(() => page.waitForURL("**/services?q=ord*"))
        assert.equal(yield* attempt(() => page.locator("tbody tr").count()), 1)
        yield* attempt(() => page.getByRole("link", { name: "orders" }).click())
        yield* attempt(() => page.getByRole("link", { name: "a", exact: true }).click())
        yield* attempt(() => page.getByRole("button", { name: "Drain", exact: true }).click())
        yield* attempt(() => page.getByText("stored at revision").waitFor())
        yield* eventually(
          Effect.flatMap(attempt(() => page.reload().then(() => page.locator("main").innerText())), (text) =>
            text.includes("adopted: its owner") ? Effect.void : Effect.fail(new Error(text))),
          { every: 500 }
        )
        assert.deepEqual(problems, [])
      })),
    options
  )

  test(
    "hostile names, metadata and values execute nothing and break no console page",
    () =>
      onEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const hostile =
          `"><img src=x onerror=pwned=1><script>pwned=1</script><svg onload=pwned=1>' onfocus='pwned=1' autofocus \u202e&lt;`
        const id = hostile.replaceAll("/", "")
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
        const base = yield* openConsole({ values: "all", allowWrites: true })
        const { page, problems } = yield* openPage(yield* openBrowser)
        yield* attempt(() => page.goto(`${base}/services`))
        yield* attempt(() => live(page))
        // While the page is open, so that these arrive as patches.
        yield* registerService(id, {
          id,
          endpoints: ["http://a:80"],
          version: hostile,
          zone: hostile,
          metadata: { [hostile]: hostile }
        })
        yield* etcd.put({ key: `/services/${id}/rejected`, value: hostile, lease })
        yield* etcd.put({ key: `/services/${hostile}`, value: hostile, lease })
        yield* etcd.put({ key: `/locks/${hostile}/${lease.toString(16)}`, value: hostile, lease })
        yield* etcd.put({ key: "/values/large", value: `${hostile}${"x".repeat(10_000)}\u0000`, lease })
        yield* attempt(() => row(page, "services", id.replaceAll("\\", "\\\\").replaceAll(`"`, `\\"`)).waitFor())
        const service = encodeURIComponent(id)
        for (
          const path of [
            "/",
            "/services",
            `/services/${service}`,
            `/services/${service}/${service}`,
            `/services/${service}/rejected`,
            `/services?q=${encodeURIComponent(hostile)}`,
            "/timeline",
            "/coordination",
            "/keys",
            "/keys?prefix=%2Flocks%2F",
            "/keys?key=%2Fvalues%2Flarge",
            "/leases",
            `/${service}`
          ]
        ) {
          yield* attempt(() => page.goto(base + path))
          yield* attempt(() => page.getByRole("contentinfo").waitFor())
          assert.equal(yield* attempt(() => page.evaluate(() => "pwned" in globalThis)), false, path)
          assert.equal(yield* attempt(() => page.locator("main img, main script").count()), 0, path)
        }
        // The favicon and a text that looks like markup are no violations.
        assert.deepEqual(problems, [])
      })),
    options
  )

  test(
    "axe reports nothing serious on any console page, in both colour schemes, at 1280 and at 320 pixels",
    () =>
      onEngine(Effect.gen(function* () {
        const etcd = yield* Etcd
        const base = yield* openConsole({ allowWrites: true })
        yield* registerService("orders", {
          id: "a",
          endpoints: ["http://a:80"],
          version: "1",
          zone: "z",
          metadata: { team: "x" }
        })
        const draining = yield* registerService("orders", { id: "b", endpoints: ["http://b:80"] })
        yield* registerService("orders", { id: "c", endpoints: ["http://c:80"], weight: 0 })
        yield* draining.drain
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
        yield* etcd.put({ key: "/services/orders/wrong", value: "{", lease })
        yield* etcd.put({ key: "/services/orders/wrong", value: "[]", lease })
        yield* Effect.forkScoped(Lock.withLock("/locks/report")(Effect.never))
        yield* Effect.forkScoped(Election.whileLeader("/elections/x", "value")(Effect.never))
        const browser = yield* openBrowser
        const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
        for (const colorScheme of ["light", "dark"] as const) {
          for (const width of [1280, 320]) {
            const { page } = yield* openPage(browser, {
              colorScheme,
              viewport: { width, height: 800 },
              reducedMotion: "reduce"
            })
            for (
              const path of [
                "/",
                "/services",
                "/services/orders",
                "/services/orders/a",
                "/services/orders/wrong",
                "/timeline",
                "/coordination",
                "/keys",
                "/keys?prefix=%2Fservices%2F",
                "/keys?key=%2Fservices%2Forders%2Fa",
                "/leases",
                "/cluster",
                "/nothing"
              ]
            ) {
              yield* attempt(() => page.goto(base + path))
              yield* attempt(() => live(page))
              yield* attempt(() => page.evaluate(axe))
              const found = yield* attempt(() => page.evaluate(violations))
              assert.deepEqual(found, [], `${path} ${colorScheme} ${width}`)
              const overflow = yield* attempt(() =>
                page.evaluate<number>("document.documentElement.scrollWidth - innerWidth")
              )
              assert.ok(overflow <= 0, `${path} at ${width} is ${overflow} pixels too wide`)
            }
          }
        }
      })),
    options
  )
})

/** Runs in the page: the serious violations that axe finds. */
const violations = async (): Promise<ReadonlyArray<string>> => {
  const { axe } = globalThis as unknown as {
    axe: {
      run: (options: unknown) => Promise<{
        violations: ReadonlyArray<{ id: string; impact: string; nodes: ReadonlyArray<{ html: string }> }>
      }>
    }
  }
  const result = await axe.run({ resultTypes: ["violations"] })
  return result.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(" | ")}`)
}
