// The formats of `render`, above all with hostile instances.
import { Effect, Result } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { formats } from "../../../src/cli/render/formats/mod.ts"
import type { FormatName } from "../../../src/cli/render/formats/names.ts"
import { dueAt, parseWait } from "../../../src/cli/render/quiescence.ts"
import { InstanceSet, type ServiceInstance } from "../../../mod.ts"
import { hostile, hostileEndpoints, hostileIds, instance } from "./hostile.ts"
import { endpoint as isEndpoint } from "../../../src/registry/model/Endpoint.ts"

const render = (format: FormatName, services: Readonly<Record<string, ReadonlyArray<ServiceInstance>>>) => {
  const prepared = Object.entries(services).map(([name, instances]) =>
    formats[format].prepare(name, InstanceSet.fromInstances(instances))
  )
  return {
    text: Effect.runSync(formats[format].join(prepared)),
    skipped: prepared.flatMap(({ skipped }) => skipped),
    isEmpty: prepared.map(({ isEmpty }) => isEmpty)
  }
}

const notice = "# Written by etcd-discovery render, which overwrites changes.\n"

const pair = [
  instance("a", "http://10.0.0.1:8080", { zone: "eu-1", metadata: { commit: "4f1c" } }),
  instance("b", "tcp://[fd00::2]:9000", { weight: 0.5 }),
  instance("c", "http://10.0.0.3:8080", { status: "draining" })
]

describe("render: formats", () => {
  it("nginx format is an upstream of the available instances with weights", () => {
    assert.equal(
      render("nginx", { orders: pair, "b.c": [] }).text,
      `${notice}upstream orders {\n    server 10.0.0.1:8080 weight=100;\n    server [fd00::2]:9000 weight=50;\n}\n` +
        "upstream b.c {\n    server 127.0.0.1:1 down;\n}\n"
    )
  })

  it("nginx format omits instances whose host is a name, because nginx may fail to resolve it and not start", () => {
    const { isEmpty, skipped } = render("nginx", { orders: [instance("a", "http://db.internal:80")] })
    assert.deepEqual([isEmpty, skipped], [[true], [
      '"a" (its host is a name, and this format needs IP addresses)'
    ]])
  })

  it("haproxy format is a backend whose names need not resolve", () => {
    assert.equal(
      render("haproxy", { orders: [...pair, instance("d", "http://db.internal")] }).text,
      `${notice}backend orders\n    server a 10.0.0.1:8080 weight 256\n    server b [fd00::2]:9000 weight 128\n` +
        "    server d db.internal:80 weight 256 init-addr last,libc,none\n"
    )
  })

  it("haproxy format has unique server names, even if an id imitates another name", () => {
    const bad = "a b"
    const name = (text: string) => /server (\S+) /.exec(text)?.[1] ?? ""
    const imitated = name(render("haproxy", { orders: [instance(bad, "http://10.0.0.1:1")] }).text)
    const { text } = render("haproxy", {
      orders: [instance(bad, "http://10.0.0.1:1"), instance(imitated, "http://10.0.0.2:1")]
    })
    const names = [...text.matchAll(/server (\S+) /g)].map(([, name]) => name)
    assert.equal(new Set(names).size, 2)
  })

  it("hosts format has lines with the service and <id>.<service>", () => {
    assert.equal(
      render("hosts", { orders: pair, payments: [] }).text,
      `${notice}10.0.0.1\torders\ta.orders\nfd00::2\torders\tb.orders\n`
    )
  })

  it("env format has the endpoints and their number", () => {
    assert.equal(
      render("env", { "my-orders": pair, "2nd": [] }).text,
      `${notice}MY_ORDERS_ENDPOINTS=http://10.0.0.1:8080,tcp://[fd00::2]:9000\nMY_ORDERS_COUNT=2\n` +
        "_2ND_ENDPOINTS=\n_2ND_COUNT=0\n"
    )
  })

  it("json format has every instance with every member", () => {
    const parsed: unknown = JSON.parse(render("json", { orders: pair, payments: [] }).text)
    assert.deepEqual(parsed, { orders: pair, payments: [] })
  })

  it("prometheus-file-sd format has the targets of every status", () => {
    const parsed: unknown = JSON.parse(render("prometheus-file-sd", { orders: pair, empty: [] }).text)
    assert.deepEqual(parsed, [
      {
        targets: ["10.0.0.1:8080"],
        labels: {
          __meta_etcd_service: "orders",
          __meta_etcd_id: "a",
          __meta_etcd_status: "up",
          __meta_etcd_zone: "eu-1",
          __meta_etcd_weight: "1",
          __meta_etcd_endpoint: "http://10.0.0.1:8080",
          __meta_etcd_metadata_commit: "4f1c",
          __scheme__: "http"
        }
      },
      {
        targets: ["10.0.0.3:8080"],
        labels: {
          __meta_etcd_service: "orders",
          __meta_etcd_id: "c",
          __meta_etcd_status: "draining",
          __meta_etcd_weight: "1",
          __meta_etcd_endpoint: "http://10.0.0.3:8080",
          __scheme__: "http"
        }
      }
    ])
    assert.equal(render("prometheus-file-sd", { empty: [] }).text, "[\n\n]\n")
  })

  it("formats refuse service names that do not fit their syntax", () => {
    const refused = (format: FormatName, ...names: ReadonlyArray<string>) =>
      Result.isFailure(formats[format].checkNames(names))
    for (const name of ["a b", "a;", "a{", "a\n", "", "$a", "#"]) {
      assert.ok(refused("nginx", name) && refused("haproxy", name) && refused("hosts", name), name)
    }
    assert.ok(refused("nginx", "a:80"))
    assert.ok(refused("env", "a-b", "a.b"))
    assert.ok(!refused("nginx", "orders-2.eu_1") && !refused("haproxy", "orders") && !refused("hosts", "orders.eu"))
    assert.ok(!refused("env", "a;b") && !refused("json", "a\nb"))
  })
})

describe("render: hostile instances", () => {
  it("nginx format has only addresses and weights, even with hostile instances", () => {
    const lines = render("nginx", { orders: hostile }).text.split("\n")
    assert.equal(lines[1], "upstream orders {")
    const servers = lines.slice(2, lines.indexOf("}"))
    for (const line of servers) assert.match(line, /^ {4}server (\d+(\.\d+){3}|\[[0-9a-f:]+\]):\d+ weight=\d+;$/)
    assert.deepEqual(lines.slice(lines.indexOf("}")), ["}", ""])
    assert.equal(servers.length > hostileIds.length, true)
  })

  it("haproxy format has only safe names, addresses and weights, even with hostile instances", () => {
    const [, , ...servers] = render("haproxy", { orders: hostile }).text.trimEnd().split("\n")
    for (const line of servers) {
      assert.match(
        line,
        /^ {4}server [\w.:-]{1,128} ([a-z0-9.-]+|\[[0-9a-f:]+\]):\d+ weight \d+( init-addr last,libc,none)?$/i
      )
    }
    assert.equal(new Set(servers.map((line) => line.split(" ")[5])).size, servers.length)
  })

  it("hosts format has only addresses and host names below the service, even with hostile instances", () => {
    const [, ...lines] = render("hosts", { orders: hostile }).text.trimEnd().split("\n")
    for (const line of lines) assert.match(line, /^[0-9a-f.:]+\torders(\t[a-z0-9.-]+\.orders)?$/i)
  })

  it("env format has no character that is special to a shell, systemd or Docker", () => {
    const [, endpoints = "", count] = render("env", { orders: hostile }).text.trimEnd().split("\n")
    assert.match(endpoints, /^ORDERS_ENDPOINTS=[A-Za-z0-9._:/%@+=,[\]-]+$/)
    assert.equal(count, `ORDERS_COUNT=${endpoints.split(",").length}`)
  })

  it("json and prometheus-file-sd formats stay printable JSON with hostile instances", () => {
    for (const format of ["json", "prometheus-file-sd"] as const) {
      const { text } = render(format, { orders: hostile, 'o"\n': hostile })
      JSON.parse(text)
      // deno-lint-ignore no-control-regex -- the test is about control characters
      assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/)
    }
  })

  it("prometheus-file-sd format has no label that changes the series or the scrape", () => {
    const groups: unknown = JSON.parse(render("prometheus-file-sd", { orders: hostile }).text)
    assert.ok(Array.isArray(groups))
    for (const group of groups) {
      for (const label of Object.keys(group.labels)) assert.match(label, /^(__meta_etcd_[a-zA-Z0-9_]+|__scheme__)$/)
      for (const target of group.targets) assert.match(target, /^([a-z0-9._-]+|\[[0-9a-f:.]+\]):\d+$/i)
    }
  })

  it("the registry accepts most hostile endpoints, so the formats must check them", () => {
    assert.ok(hostileEndpoints.filter((endpoint) => Result.isSuccess(isEndpoint(endpoint))).length > 8)
  })
})

describe("render: quiescence", () => {
  it("dueAt is min after the last change and at most max after the first", () => {
    const wait = { minMillis: 100, maxMillis: 1000 }
    assert.equal(dueAt(0, 0, wait), 100)
    assert.equal(dueAt(0, 500, wait), 600)
    assert.equal(dueAt(0, 950, wait), 1000)
  })

  it("parseWait reads min:max, min alone, and 0", () => {
    assert.deepEqual(parseWait("200 millis:2 seconds"), Result.succeed({ minMillis: 200, maxMillis: 2000 }))
    assert.deepEqual(parseWait("1 second"), Result.succeed({ minMillis: 1000, maxMillis: 4000 }))
    assert.deepEqual(parseWait("0"), Result.succeed({ minMillis: 0, maxMillis: 0 }))
    for (const text of ["", "5", "2 seconds:1 second", "1 second:", "a:b", "1 second:2 seconds:3 seconds"]) {
      assert.ok(Result.isFailure(parseWait(text)), text)
    }
  })
})
