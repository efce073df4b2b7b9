import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, it } from "node:test"
import { root } from "../../tools/runtimes.ts"

const textOf = (path: string): string => readFileSync(join(root, path), "utf8")

/** Names of metrics of this package in a text. The three series of a histogram are one metric. */
const metricsIn = (text: string): ReadonlySet<string> =>
  new Set(
    Array.from(text.matchAll(/\betcd_discovery_\w+/g), ([name]) => name)
      .map((name) => name.replace(/_(?:bucket|sum|count)$/, ""))
  )

const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts")).map((file) => textOf(join("src", file))).join("\n")

const exported = new Set(
  Array.from(sources.matchAll(/(?:id: |\(\s*)"(etcd_discovery_\w+)"/g), ([, name = ""]) => name)
)

const reference = metricsIn(textOf("docs/reference/metrics.md"))

describe("files for Prometheus and Grafana", () => {
  it("docs/reference/metrics.md lists each metric of the sources and no other", () => {
    assert.deepEqual([...reference].sort(), [...exported].sort())
  })

  it("metric names follow Prometheus' conventions", () => {
    for (const name of exported) assert.match(name, /^[a-z][a-z0-9_]*$/)
    const counters = Array.from(
      sources.matchAll(/(?:[cC]ounter)\(\s*"(etcd_discovery_\w+)"/g),
      ([, name = ""]) => name
    )
    assert.ok(counters.length > 10)
    for (const name of exported) assert.equal(name.endsWith("_total"), counters.includes(name), name)
    for (const name of exported) assert.doesNotMatch(name, /_(?:ms|millis|minutes)\b/)
  })

  for (
    const file of [
      "examples/monitoring/alerts.yml",
      "examples/monitoring/alerts.test.yml",
      "examples/monitoring/dashboard.json",
      "docs/monitoring.md",
      "docs/guide/production.md",
      "docs/guide/operators.md",
      "docs/guide/troubleshooting.md",
      "README.md"
    ]
  ) {
    it(`${file} names only metrics that exist`, () => {
      assert.deepEqual([...metricsIn(textOf(file))].filter((name) => !reference.has(name)), [])
    })
  }

  it("each alert has a test in which it fires, and a line in the documentation", () => {
    const alerts = Array.from(textOf("examples/monitoring/alerts.yml").matchAll(/- alert: (\w+)/g), ([, name]) => name)
    const tests = textOf("examples/monitoring/alerts.test.yml")
    const page = textOf("docs/monitoring.md")
    assert.ok(alerts.length > 5)
    for (const alert of alerts) {
      assert.match(tests, new RegExp(`alertname: ${alert}\\n\\s+exp_alerts:\\n`), `${alert} fires in no test`)
      assert.ok(page.includes(`\`${alert}\``), `${alert} is not in docs/monitoring.md`)
    }
  })

  it("the Grafana dashboard has panels with queries and unique ids", () => {
    interface Panel {
      readonly id: number
      readonly type: string
      readonly targets?: ReadonlyArray<{ readonly expr: string }>
    }
    const { panels }: { readonly panels: ReadonlyArray<Panel> } = JSON.parse(
      textOf("examples/monitoring/dashboard.json")
    )
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    for (const { targets = [], type } of panels) {
      if (type !== "row") assert.ok(targets.length > 0 && targets.every(({ expr }) => expr.length > 0))
    }
  })
})
