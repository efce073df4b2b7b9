import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { registerService, Registry } from "../../mod.ts"
import { describe, live } from "../harness/it.ts"
import { attempt, eventually } from "../harness/real.ts"
import { memory, ran, recording } from "./support.ts"

const get = (url: string, headers: Record<string, string> = {}) =>
  attempt(async () => {
    const response = await fetch(url, { headers })
    return { status: response.status, text: await response.text() }
  })

/** The URL that a running `console --json` printed. */
const urlOf = (stdout: () => string) =>
  eventually(
    Effect.suspend(() =>
      stdout().includes("\n") ? Effect.succeed(String(JSON.parse(stdout()).url)) : Effect.fail(new Error("no line"))
    )
  )

describe("command line: console", () => {
  live("console serves the pages of the namespace until it is interrupted", () =>
    Effect.gen(function* () {
      const { connect, registry } = yield* memory
      yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.5:8080"] }).pipe(
        Effect.provideService(Registry.Registry, registry)
      )
      const { effect, stdout } = recording(["console", "--port", "0", "--json"], { connect })
      const running = yield* Effect.forkScoped(effect)
      const url = yield* urlOf(stdout)
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
      yield* eventually(Effect.flatMap(get(`${url}services`), ({ text }) =>
        text.includes("orders") ? Effect.void : Effect.fail(new Error(text))))
      assert.match((yield* get(url)).text, /Read-only/)
      yield* Fiber.interrupt(running)
      yield* Effect.flip(get(url))
    }))

  live(
    "console --demo shows a small fleet on the embedded engine, and refuses a real etcd",
    () =>
      Effect.gen(function* () {
        const { connect } = yield* memory
        const { effect, stdout } = recording(["console", "--port", "0", "--json", "--demo", "--allow-writes"], {
          connect
        })
        yield* Effect.forkScoped(effect)
        const url = yield* urlOf(stdout)
        yield* eventually(
          Effect.flatMap(get(`${url}services`), ({ text }) =>
            text.includes("checkout") && text.includes("rejected") ? Effect.void : Effect.fail(new Error(text)))
        )
        const refused = yield* ran(["console", "--demo"])
        assert.equal(refused.exitCode, 2)
        assert.match(refused.stderr, /cannot show the demo: it writes a fleet into etcd\. Add --memory/)
      })
  )

  live(
    "console requires a token for addresses other than loopback, and browsers prompt for it",
    () =>
      Effect.gen(function* () {
        const { connect } = yield* memory
        const open = yield* ran(["console", "--host", "0.0.0.0", "--port", "0"], { connect })
        assert.equal(open.exitCode, 2)
        assert.match(open.stderr, /cannot serve on 0\.0\.0\.0 without a token/)
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "console-test-"))),
          (path) => Effect.sync(() => rmSync(path, { recursive: true }))
        )
        const tokenFile = join(folder, "token")
        writeFileSync(tokenFile, "s3cret\n")
        const { effect, stdout } = recording(
          ["console", "--port", "0", "--json", "--token-file", tokenFile, "--login", "op"],
          { connect }
        )
        yield* Effect.forkScoped(effect)
        const url = yield* urlOf(stdout)
        assert.equal((yield* get(url)).status, 401)
        assert.equal((yield* get(url, { authorization: `Basic ${btoa("op:s3cret")}` })).status, 200)
        assert.equal((yield* get(url, { authorization: `Basic ${btoa("root:s3cret")}` })).status, 401)
        const { port } = new URL(url)
        const taken = yield* ran(["console", "--port", port], { connect })
        assert.match(
          taken.stderr,
          /^etcd-discovery: cannot serve on 127\.0\.0\.1:\d+: .*Choose another port or address\.\n$/
        )
      })
  )
})
