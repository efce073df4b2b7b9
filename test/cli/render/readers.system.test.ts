// Programs that read rendered files with hostile instances: Debian's promtool, and a shell.
import { Effect } from "effect"
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { formats } from "../../../src/cli/render/formats/mod.ts"
import type { FormatName } from "../../../src/cli/render/formats/names.ts"
import { InstanceSet } from "../../../mod.ts"
import { obtainPrometheus } from "../../../tools/prometheus.ts"
import { describe, live } from "../../harness/it.ts"
import { hostile, instance } from "./hostile.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "render-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const rendered = (format: FormatName) => {
  const set = InstanceSet.fromInstances([...hostile, instance("good", "http://10.0.0.1:8080")])
  return formats[format].join([formats[format].prepare("orders", set)])
}

describe("render: readers of files with hostile instances", () => {
  live("promtool accepts a file of prometheus-file-sd", () =>
    Effect.gen(function* () {
      const { promtool } = obtainPrometheus()
      const root = yield* folder
      writeFileSync(join(root, "orders.json"), yield* rendered("prometheus-file-sd"))
      writeFileSync(
        join(root, "prometheus.yml"),
        "scrape_configs: [{ job_name: orders, file_sd_configs: [{ files: [orders.json] }] }]\n"
      )
      const output = execFileSync(promtool, ["check", "config", "prometheus.yml"], { cwd: root, encoding: "utf8" })
      assert.match(output, /SUCCESS/)
    }))

  live("a shell reads a file of env unchanged and runs nothing", () =>
    Effect.gen(function* () {
      const root = yield* folder
      const text = yield* rendered("env")
      writeFileSync(join(root, "orders.env"), text)
      const script = "set -eu; . ./orders.env; printf '%s' \"$ORDERS_ENDPOINTS\""
      const read = execFileSync("sh", ["-c", script], { cwd: root, encoding: "utf8" })
      assert.equal(read, /^ORDERS_ENDPOINTS=(.*)$/m.exec(text)?.[1])
      assert.ok(read.includes("http://10.0.0.1:8080"))
      assert.deepEqual(readdirSync(root), ["orders.env"])
    }))
})
