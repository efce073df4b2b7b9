/**
 * What the tests in a browser share: Debian's Chromium, a console on an etcd, and waiting for what a page shows.
 *
 * @module
 */
import { Effect, Layer, type Scope } from "effect"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import { serve } from "../../src/console/serve.ts"
import { WebConsole } from "../../src/console/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { launchChromium, obtainChromium } from "../../tools/chromium.ts"
import { attempt } from "../harness/real.ts"

/** Why no browser can run here; `undefined` if one can. */
export const whyNoBrowser: string | undefined = (() => {
  try {
    obtainChromium()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
})()

/** A browser for the lifetime of the scope. */
export const openBrowser: Effect.Effect<Browser, Error, Scope.Scope> = Effect.acquireRelease(
  attempt(() => launchChromium()),
  (browser) => Effect.promise(() => browser.close())
)

/** What a page did that no page may do. */
export interface Watched {
  readonly page: Page
  /** Errors of scripts and violations of the content security policy. */
  readonly problems: ReadonlyArray<string>
}

/** A page of a context of its own, which notes errors. */
export const openPage = (
  browser: Browser,
  options: BrowserContextOptions = {}
): Effect.Effect<Watched, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.acquireRelease(
      attempt(() => browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })),
      (context) => Effect.promise(() => context.close())
    )
    const page = yield* attempt(() => context.newPage())
    const problems: Array<string> = []
    page.on("pageerror", (error) => problems.push(String(error)))
    page.on("console", (message) => {
      if (/Content Security Policy|Refused/.test(message.text())) problems.push(message.text())
    })
    page.on("dialog", (dialog) => {
      problems.push(`dialog: ${dialog.message()}`)
      dialog.dismiss().catch(() => {})
    })
    return { page, problems }
  })

/** Serves a console of the etcd of the context; the address. */
export const openConsole = (options: WebConsole.Options = {}): Effect.Effect<string, Error, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const etcd = yield* Etcd
    const { port } = yield* serve(
      WebConsole.layer(options).pipe(Layer.orDie, Layer.provide(Layer.succeed(Etcd, etcd))),
      { port: 0 }
    )
    return `http://127.0.0.1:${port}`
  })

/** Waits until the page is live. */
export const live = (page: Page): Promise<void> => page.locator(".known.live").waitFor()

/** The row of a table. */
export const row = (page: Page, table: string, key: string) =>
  page.locator(`[data-table="${table}"] tr[data-key="${key}"]`)
