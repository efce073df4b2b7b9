/**
 * Takes pictures of every page of the web console, for people to look at.
 *
 *     deno task screenshots              writes .cache/screenshots/*.png
 *     deno task screenshots --docs       and the two in docs/
 *
 * The pages show the demo fleet on the embedded engine, in Debian's Chromium.
 *
 * @module
 */
import { Effect, Layer, References } from "effect"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import type { Browser } from "playwright-core"
import { Registry } from "../mod.ts"
import { demo } from "../src/console/demo.ts"
import { WebConsole } from "../src/console/mod.ts"
import { serve } from "../src/console/serve.ts"
import { Etcd, EtcdMemory } from "../src/etcd/mod.ts"
import { launchChromium } from "./chromium.ts"
import { root } from "./runtimes.ts"

const openBrowser = Effect.acquireRelease(
  Effect.promise(() => launchChromium()),
  (browser) => Effect.promise(() => browser.close())
)

const folder = join(root, ".cache", "screenshots")

const pages: ReadonlyArray<readonly [name: string, path: string]> = [
  ["overview", "/"],
  ["services", "/services"],
  ["service", "/services/orders"],
  ["instance", "/services/orders/orders-505ca"],
  ["rejected", "/services/mailer/mailer-old"],
  ["timeline", "/timeline"],
  ["coordination", "/coordination"],
  ["keys", "/keys?prefix=%2F"],
  ["leases", "/leases"],
  ["cluster", "/cluster"]
]

interface Look {
  readonly name: string
  readonly width: number
  readonly height: number
  readonly colorScheme: "light" | "dark"
}

const looks: ReadonlyArray<Look> = [
  { name: "light", width: 1280, height: 860, colorScheme: "light" },
  { name: "dark", width: 1280, height: 860, colorScheme: "dark" },
  { name: "phone", width: 390, height: 844, colorScheme: "light" }
]

const shoot = async (browser: Browser, base: string, look: Look, path: string, file: string): Promise<void> => {
  const { colorScheme, height, width } = look
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" })
  const page = await context.newPage()
  await page.goto(base + path)
  await page.locator(".known.live").waitFor()
  await page.screenshot({ path: file })
  await context.close()
}

const program = Effect.gen(function* () {
  const etcd = yield* Etcd
  const { port } = yield* serve(
    WebConsole.layer({ allowWrites: true }).pipe(Layer.provide(Layer.succeed(Etcd, etcd))),
    { port: 0 }
  )
  const base = `http://127.0.0.1:${port}`
  yield* demo
  const browser = yield* openBrowser
  // Wait for some changes and samples, so that the pages show some.
  yield* Effect.sleep("20 seconds")
  mkdirSync(folder, { recursive: true })
  for (const look of looks) {
    for (const [name, path] of pages) {
      yield* Effect.promise(() => shoot(browser, base, look, path, join(folder, `${name}-${look.name}.png`)))
    }
  }
  if (process.argv.includes("--docs")) {
    const [light, dark] = looks as [Look, Look]
    const small = { width: 1200, height: 760 }
    yield* Effect.promise(() =>
      shoot(browser, base, { ...light, ...small }, "/", join(root, "docs", "console-overview.png"))
    )
    yield* Effect.promise(() =>
      shoot(browser, base, { ...dark, ...small }, "/services", join(root, "docs", "console-services.png"))
    )
  }
  console.log(folder)
})

if (import.meta.main) {
  const etcd = Registry.layer().pipe(Layer.provideMerge(EtcdMemory.layer()))
  const quiet = Effect.provideService(References.MinimumLogLevel, "Error")
  await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(etcd), quiet))
  process.exit(0)
}
