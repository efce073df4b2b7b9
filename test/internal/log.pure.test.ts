import { Effect, Logger } from "effect"
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { describe, it } from "node:test"
import { logError, logInfo, logWarning } from "../../src/internal/log.ts"

const src = new URL("../../src/", import.meta.url)

/** The code of a module without its comments, whose examples log as users do. */
const codeOf = (file: string): string =>
  readFileSync(new URL(file, src), "utf8").replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "")

describe("internal/log", () => {
  it("logInfo, logWarning and logError succeed if the logger throws", async () => {
    const lines: Array<unknown> = []
    const throwing = Logger.make(({ message }) => {
      lines.push(message)
      throw new Error("a broken logger")
    })
    const logged = Effect.all([logInfo("a", 1), logWarning("b"), logError("c")], { discard: true })
    await Effect.runPromise(Effect.provide(logged, Logger.layer([throwing])))
    assert.deepEqual(lines, [["a", 1], ["b"], ["c"]])
  })

  it("only internal/log and the command line call Effect.log", () => {
    const files = readdirSync(src, { recursive: true, encoding: "utf8" })
      .map((file) => file.replaceAll("\\", "/"))
      .filter((file) => file.endsWith(".ts") && !file.startsWith("cli/") && file !== "internal/log.ts")
    assert.deepEqual(files.filter((file) => /\bEffect\.log/.test(codeOf(file))), [])
    assert.ok(files.length > 100)
  })
})
