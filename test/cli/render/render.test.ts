// `etcd-discovery render` on the embedded engine.
import { Effect, Exit, Fiber, Scope } from "effect"
import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { registerService, Registry } from "../../../mod.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { memory, ran, recording } from "../support.ts"

const setup = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "render-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const { connect, registry } = yield* memory
  const outer = yield* Effect.scope
  /** Registers an instance; the result releases it. */
  const register = Effect.fnUntraced(function* (service: string, id: string, port: number) {
    const scope = yield* Scope.fork(outer)
    yield* registerService(service, { id, endpoints: [`http://10.0.0.1:${port}`] }).pipe(
      Effect.provideService(Registry.Registry, registry),
      Scope.provide(scope)
    )
    return Scope.close(scope, Exit.void)
  })
  const file = join(folder, "out")
  const log = join(folder, "log")
  const render = (...args: ReadonlyArray<string>) => ran(["render", ...args], { connect })
  const follow = (...args: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const recorded = recording(["render", ...args, "--output", file], { connect })
      const fiber = yield* Effect.forkScoped(recorded.effect, { startImmediately: true })
      return { ...recorded, fiber }
    })
  const textIs = (path: string, wanted: string | RegExp) =>
    eventually(Effect.suspend(() => {
      const text = existsSync(path) ? readFileSync(path, "utf8") : ""
      const matches = typeof wanted === "string" ? text === wanted : wanted.test(text)
      return matches ? Effect.void : Effect.fail(new Error(`${path}: ${text}`))
    }))
  return { file, folder, follow, log, register, render, textIs }
})

const notice = "# Written by etcd-discovery render, which overwrites changes.\n"
const env = (...ports: ReadonlyArray<number>) =>
  `${notice}ORDERS_ENDPOINTS=${
    ports.map((port) => `http://10.0.0.1:${port}`).join(",")
  }\nORDERS_COUNT=${ports.length}\n`

const quick = ["--wait", "10 millis:1 second"]

describe("command line: render", () => {
  live(
    "render --once writes the file and runs the reload command, but does neither if the text is equal",
    () =>
      Effect.gen(function* () {
        const { file, log, register, render } = yield* setup
        yield* register("orders", "a", 1)
        const args = ["orders", "--format", "env", "--output", file, "--once", "--reload", `echo "$FILE" >> '${log}'`]
        assert.deepEqual(yield* render(...args), { exitCode: 0, stdout: "", stderr: "" })
        assert.equal(readFileSync(file, "utf8"), env(1))
        const { ino } = statSync(file)
        assert.equal((yield* render(...args)).exitCode, 0)
        assert.equal(statSync(file).ino, ino)
        assert.equal(readFileSync(log, "utf8"), `${file}\n`)
      })
  )

  live("render --dry-run prints the text and writes nothing", () =>
    Effect.gen(function* () {
      const { file, register, render } = yield* setup
      yield* register("orders", "a", 1)
      const { exitCode, stdout } = yield* render("orders", "--format", "env", "--output", file, "--dry-run")
      assert.deepEqual([exitCode, stdout], [0, env(1)])
      assert.ok(!existsSync(file))
    }))

  live("render follows the sets, and writes all services in the order of the arguments", () =>
    Effect.gen(function* () {
      const { file, follow, register, textIs } = yield* setup
      const release = yield* register("orders", "a", 1)
      yield* register("payments", "p", 9)
      yield* follow("payments", "orders", "--format", "hosts", ...quick, "--on-empty", "write")
      const payments = "10.0.0.1\tpayments\tp.payments\n"
      yield* textIs(file, `${notice}${payments}10.0.0.1\torders\ta.orders\n`)
      yield* register("orders", "b", 2)
      yield* textIs(file, `${notice}${payments}10.0.0.1\torders\ta.orders\n10.0.0.1\torders\tb.orders\n`)
      yield* release
      yield* textIs(file, `${notice}${payments}10.0.0.1\torders\tb.orders\n`)
    }))

  live(
    "render keeps the old file and logs an error while the check fails, and writes later text that passes",
    () =>
      Effect.gen(function* () {
        const { file, follow, register, textIs } = yield* setup
        yield* register("orders", "a", 1)
        const { stderr } = yield* follow(
          ...["orders", "--format", "env", ...quick],
          ...["--check", `grep -q COUNT=2 "$FILE" && { echo two is wrong; exit 3; } || true`]
        )
        yield* textIs(file, env(1))
        yield* register("orders", "b", 2)
        yield* eventually(Effect.suspend(() =>
          stderr().includes("error: the check command failed: exit code 3: two is wrong") ?
            Effect.void :
            Effect.fail(stderr())
        ))
        assert.equal(readFileSync(file, "utf8"), env(1))
        yield* register("orders", "c", 3)
        yield* textIs(file, env(1, 2, 3))
        assert.deepEqual(readdirSync(join(file, "..")), ["out"])
      })
  )

  for (const [which, failing] of [["first", 1], ["second", 2]] as const) {
    live(`render retries the ${which} reload if it fails`, () =>
      Effect.gen(function* () {
        const { file, follow, log, register, textIs } = yield* setup
        yield* register("orders", "a", 1)
        yield* follow(
          ...["orders", "--format", "env", ...quick],
          ...["--reload", `echo reload >> '${log}'; [ $(wc -l < '${log}') != ${failing} ]`]
        )
        yield* textIs(log, "reload\n".repeat(failing === 1 ? 2 : 1))
        yield* register("orders", "b", 2)
        yield* textIs(log, "reload\n".repeat(3))
        assert.equal(readFileSync(file, "utf8"), env(1, 2))
      }))
  }

  live(
    "render exits with 1 and writes nothing if the check refuses the first text",
    () =>
      Effect.gen(function* () {
        const { file, follow, register } = yield* setup
        yield* register("orders", "a", 1)
        const { fiber, stderr } = yield* follow("orders", "--format", "env", ...quick, "--check", "false")
        assert.equal(yield* Fiber.join(fiber), 1)
        assert.match(stderr(), /the check command failed: exit code 1/)
        assert.deepEqual(readdirSync(join(file, "..")), [])
      })
  )

  live(
    "render --on-empty keep writes the last instances, and writes nothing before the first one",
    () =>
      Effect.gen(function* () {
        const { file, follow, register, textIs } = yield* setup
        const { stderr } = yield* follow("orders", "payments", "--format", "hosts", ...quick)
        yield* eventually(
          Effect.suspend(() =>
            stderr().includes("no instances of orders, payments") ? Effect.void : Effect.fail(stderr())
          )
        )
        const release = yield* register("orders", "a", 1)
        yield* eventually(
          Effect.suspend(() => stderr().includes("no instances of payments") ? Effect.void : Effect.fail(stderr()))
        )
        assert.ok(!existsSync(file))
        yield* register("payments", "p", 9)
        yield* textIs(file, /p\.payments/)
        yield* release
        yield* register("payments", "q", 10)
        yield* textIs(file, /a\.orders\n.*p\.payments\n.*q\.payments/)
      })
  )

  live("render --on-empty fail exits with 1 and leaves the file", () =>
    Effect.gen(function* () {
      const { file, follow, register, textIs } = yield* setup
      const release = yield* register("orders", "a", 1)
      const { fiber, stderr } = yield* follow("orders", "--format", "env", ...quick, "--on-empty", "fail")
      yield* textIs(file, env(1))
      yield* release
      assert.equal(yield* Fiber.join(fiber), 1)
      assert.match(stderr(), /"orders" has no instances/)
      assert.equal(readFileSync(file, "utf8"), env(1))
    }))

  live(
    "render --module writes the text that the module returns, and keeps the file if it throws",
    () =>
      Effect.gen(function* () {
        const { file, folder, register, render } = yield* setup
        yield* register("orders", "a", 1)
        const module = (name: string, text: string) => {
          writeFileSync(join(folder, name), text)
          return ["orders", "--module", join(folder, name), "--output", file, "--once"]
        }
        const good = module(
          "good.mjs",
          `export default async (services) => services.map(({ name, set }) => name + " " + set.endpoints).join()`
        )
        assert.deepEqual(yield* render(...good), { exitCode: 0, stdout: "", stderr: "" })
        assert.equal(readFileSync(file, "utf8"), "orders http://10.0.0.1:1")
        const bad = yield* render(...module("bad.mjs", `export default () => { throw new Error("no template") }`))
        assert.equal(bad.exitCode, 1)
        assert.match(bad.stderr, /bad\.mjs" failed: no template/)
        const none = yield* render(...module("none.mjs", `export const a = 1`))
        assert.match(none.stderr, /its default export must be a function/)
        assert.equal(readFileSync(file, "utf8"), "orders http://10.0.0.1:1")
      })
  )

  live("render exits with 2 for invalid options before it reads or writes", () =>
    Effect.gen(function* () {
      const { file, folder, render } = yield* setup
      const refused = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
        const { exitCode, stderr } = yield* render(...args)
        assert.equal(exitCode, 2, stderr)
        return stderr
      })
      const out = ["--output", file]
      assert.match(yield* refused("orders", ...out), /set either --format or --module/)
      assert.match(yield* refused("orders", "--format", "json"), /--output is missing/)
      assert.match(yield* refused("a;b", "--format", "nginx", ...out), /does not fit this format/)
      assert.match(yield* refused("orders", "orders", "--format", "json", ...out), /not name a service twice/)
      assert.match(yield* refused("orders", "--format", "json", ...out, "--wait", "5"), /it must be min:max/)
      assert.match(yield* refused("orders", "--format", "json", ...out, "--mode", "999"), /it must be octal/)
      yield* refused("orders", "--format", "toml", ...out)
      assert.deepEqual(readdirSync(folder), [])
    }))
})
