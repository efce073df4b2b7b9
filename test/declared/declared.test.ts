import { Duration, Effect, Redacted, Result } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { networkInterfaces, tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Options as DeclarationOptions, Source } from "../../src/declared/Declaration.ts"
import { type Path, readDocument } from "../../src/declared/document.ts"
import { readDeclaration } from "../../src/declared/read.ts"
import type { Format } from "../../src/internal/text/formats.ts"
import { describe, effect } from "../harness/it.ts"

/** The declaration as plain data, without the codecs of its services. */
const read = (
  text: string,
  options: DeclarationOptions & { readonly format?: Format; readonly needsEtcd?: boolean } = {}
) =>
  Effect.gen(function* () {
    const { format = "yaml", needsEtcd = false, ...rest } = options
    const { discover, services, warnings: _, ...where } = yield* readDeclaration(
      { text, format, name: `d.${format}` },
      { env: {}, ...rest },
      needsEtcd
    )
    return {
      ...where,
      services: services.map(({ options: { ttl, ...others }, service }) => ({
        name: service.name,
        ...others,
        ...(ttl === undefined ? {} : { ttl: Duration.format(ttl as Duration.Duration) })
      })),
      discover: discover.map(({ name }) => name)
    }
  })

/** The problems, each as `line:column path: rule`. */
const problems = (text: string, options: Parameters<typeof read>[1] = {}) =>
  Effect.gen(function* () {
    const failed = yield* Effect.flip(read(text, options))
    assert.equal(failed.source, `d.${options.format ?? "yaml"}`)
    return failed.problems.map(({ column, line, path, rule }) => `${line}:${column} ${path}: ${rule}`)
  })

const endpointOf = (endpoint: string, options: DeclarationOptions = {}) =>
  Effect.map(
    Effect.result(read(`services: [{ name: orders, endpoints: ["${endpoint}"] }]`, options)),
    (read) => Result.isSuccess(read) ? read.success.services[0]?.endpoints[0] : read.failure.problems[0]?.rule
  )

const full = {
  etcd: {
    endpoints: ["https://a:2379", "https://b:2379"],
    username: "root",
    tls: { ca: "ca.pem", cert: "c.pem", key: "k.pem", serverName: "etcd" },
    dialTimeout: Duration.seconds(1),
    requestTimeout: Duration.seconds(2),
    keepAliveTime: Duration.seconds(20),
    maxReceiveBytes: 1000
  },
  namespace: "/prod/services",
  services: [
    {
      name: "orders",
      id: "orders-1",
      endpoints: ["http://10.0.0.5:8080", "tcp://10.0.0.5:9000"],
      version: "1.10",
      zone: "eu-1",
      weight: 2.5,
      metadata: { commit: "4f1c2d" },
      ttl: "10s",
      heartbeat: Duration.seconds(2),
      claim: "exclusive",
      startup: "background",
      startupTimeout: Duration.seconds(5),
      drain: Duration.seconds(1),
      releaseTimeout: Duration.seconds(4),
      healthEvery: Duration.seconds(3),
      healthThreshold: 2
    },
    { name: "admin", endpoints: ["http://10.0.0.5:8081"] }
  ],
  discover: ["payments", "users"]
}

const asYaml = `
etcd:
  endpoints: [https://a:2379, https://b:2379]
  username: root
  password: hunter2
  tls: { ca: ca.pem, cert: c.pem, key: k.pem, serverName: etcd }
  dialTimeout: 1 second
  requestTimeout: 2 seconds
  keepAliveTime: 20 seconds
  maxReceiveBytes: 1000
namespace: /prod/services
x-common: &common # keys of the file's own
  ttl: 10 seconds
services:
  - <<: *common
    name: orders
    id: orders-1
    endpoints:
      - http://10.0.0.5:8080
      - 10.0.0.5:9000
    version: "1.10"
    zone: eu-1
    weight: 2.5
    metadata: { commit: 4f1c2d }
    heartbeat: 2 seconds
    claim: exclusive
    startup: background
    startupTimeout: 5 seconds
    drain: 1 second
    releaseTimeout: 4 seconds
    healthEvery: 3 seconds
    healthThreshold: 2
  - name: admin
    endpoints: [http://10.0.0.5:8081]
discover: [payments, users]
`
const asToml = `
namespace = "/prod/services"
discover = ["payments", "users"]
[etcd]
endpoints = ["https://a:2379", "https://b:2379"]
username = "root"
password = "hunter2"
tls = { ca = "ca.pem", cert = "c.pem", key = "k.pem", serverName = "etcd" }
dialTimeout = "1 second"
requestTimeout = "2 seconds"
keepAliveTime = "20 seconds"
maxReceiveBytes = 1000
[[services]]
name = "orders"
id = "orders-1"
endpoints = ["http://10.0.0.5:8080", "10.0.0.5:9000"]
version = "1.10"
zone = "eu-1"
weight = 2.5
metadata.commit = "4f1c2d"
ttl = "10 seconds"
heartbeat = "2 seconds"
claim = "exclusive"
startup = "background"
startupTimeout = "5 seconds"
drain = "1 second"
releaseTimeout = "4 seconds"
healthEvery = "3 seconds"
healthThreshold = 2
[[services]]
name = "admin"
endpoints = ["http://10.0.0.5:8081"]
`
const asJson = JSON.stringify({
  ...full,
  etcd: {
    ...full.etcd,
    password: "hunter2",
    dialTimeout: "1 second",
    requestTimeout: "2 seconds",
    keepAliveTime: "20 seconds"
  },
  services: full.services.map((service) => ({
    ...service,
    ...(service.name === "orders" ?
      {
        ttl: "10 seconds",
        heartbeat: "2 seconds",
        startupTimeout: "5 seconds",
        drain: "1 second",
        releaseTimeout: "4 seconds",
        healthEvery: "3 seconds"
      } :
      {})
  }))
})

describe("a declaration in this package's shape", () => {
  for (const [format, text] of [["yaml", asYaml], ["toml", asToml], ["json", asJson]] as const) {
    effect(
      `a declaration in ${format} has every option of a client and of a registration that is data`,
      () =>
        Effect.gen(function* () {
          const { etcd: { password, ...etcd } = { endpoints: [] }, ...rest } = yield* read(text, {
            format,
            needsEtcd: true
          })
          assert.deepEqual({ etcd, ...rest }, full)
          assert.ok(Redacted.isRedacted(password) && Redacted.value(password) === "hunter2")
        })
    )
  }

  effect("a declaration needs only a name and an endpoint", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* read("{}"), { services: [], discover: [] })
      assert.deepEqual(yield* read("services: [{ name: a, endpoints: 'http://h:1' }]"), {
        services: [{ name: "a", endpoints: ["http://h:1"] }],
        discover: []
      })
    }))

  effect("a declaration takes health checks of the program by name", () =>
    Effect.gen(function* () {
      const health = { orders: Effect.void }
      const { services } = yield* read(asYaml, { health })
      assert.deepEqual(services.map((service) => "health" in service && service.health), [health.orders, false])
    }))

  effect(
    "an invalid declaration reports every problem with line, column, path and rule",
    () =>
      Effect.gen(function* () {
        const text = `etcd:
  endpoints: [a, "http://u:hunter2@b:1", http://c:2379]
  username: root
  tls: { cert: c.pem,
    keyy: hunter2 }
  dialTimeout: 3
namespace: /a//b
services:
  - name: or/ders
    endpont: http://h:1
    ttl: 1 second
    weight: -1
    version: 1.10
    metadata:
      shard: 7
  - id: "."
    endpoints:
      - hunter2
      - http://h:80
    heartbeat: 8 seconds
    claim: never
    healthThreshold: 0.5
  - { name: a, id: same, endpoints: "http://h:1,nothing" }
  - { name: a, id: same, endpoints: [] }
  - orders
discover: [payments, ""]
other: 1
`
        const absolute =
          "it must be an absolute URL such as http://10.0.0.5:8080, or host:port, without blanks and with a port of 1 to 65535"
        const name = "it must be 1 to 253 bytes of UTF-8, without '/' and control characters, and neither '.' nor '..'"
        const server = "it must be http://host:port, https://host:port or host:port, without credentials"
        const quote = `it must be text; quote it, such as "1.10"`
        const found = yield* problems(text)
        assert.deepEqual(found, [
          "1:1 etcd.password: it is needed beside username",
          `2:15 etcd.endpoints[0]: ${server}`,
          `2:18 etcd.endpoints[1]: ${server}`,
          "4:3 etcd.tls.key: it is needed beside cert",
          "5:5 etcd.tls.keyy: there is no such setting",
          `6:3 etcd.dialTimeout: it must be a duration with its unit, such as "15 seconds" or "500 millis"`,
          "7:1 namespace: it must be segments joined by '/', each a legal service name, with or without '/' in front, such as /services",
          `9:5 services[0].name: ${name}`,
          "9:5 services[0].endpoints: it is needed",
          "10:5 services[0].endpont: there is no such setting",
          '11:5 services[0].ttl: it must be a finite duration of at least 2 s and at most 104166 d 16 h, such as "15 seconds"',
          "12:5 services[0].weight: it must be a finite number of at least 0",
          `13:5 services[0].version: ${quote}`,
          `15:7 services[0].metadata.shard: ${quote}`,
          "16:5 services[1].name: it is needed",
          `16:5 services[1].id: ${name}`,
          `18:9 services[1].endpoints[0]: ${absolute}`,
          '20:5 services[1].heartbeat: it must be a finite duration of at least 1 ms and at most 7.5 s, such as "2 seconds"',
          "21:5 services[1].claim: it must be one of restart, exclusive, overwrite",
          "22:5 services[1].healthThreshold: it must be a whole number of at least 1",
          `23:26 services[2].endpoints[1]: ${absolute}`,
          "24:16 services[3].id: it must be another one: an earlier service has this name and this id",
          "24:26 services[3].endpoints: it must be a list with at least one item",
          "25:5 services[4]: it must have members",
          `26:22 discover[1]: ${name}`,
          "27:1 other: there is no such setting"
        ])
        assert.ok(!found.join().includes("hunter2"))
      })
  )

  effect("an invalid declaration reports paths in TOML, and positions in JSON", () =>
    Effect.gen(function* () {
      const rule = "it must be a finite number of at least 0"
      const toml = `[[services]]\nname = "a"\nendpoints = ["http://h:1"]\n[[services]]\nname = "b"\nweight = "x"\n`
      assert.deepEqual(yield* problems(toml, { format: "toml" }), [
        "0:0 services[1].endpoints: it is needed",
        `0:0 services[1].weight: ${rule}`
      ])
      const json = `{ "services": [\n  { "name": "a", "endpoints": ["http://h:1"],\n    "weight": null }\n] }`
      assert.deepEqual(yield* problems(json, { format: "json" }), [`3:5 services[0].weight: ${rule}`])
      assert.deepEqual(yield* problems("[1]"), ["1:1 : it must have members, such as services or discover"])
      assert.deepEqual(yield* problems("discover: [a]", { needsEtcd: true }), ["1:1 etcd: it is needed"])
    }))

  effect(
    "a declaration that does not parse reports the position without quotes from the text",
    () =>
      Effect.gen(function* () {
        assert.deepEqual(yield* problems("etcd:\n  username: root\n  password: *hunter2 at line 9\ndiscover: []"), [
          "3:22 : it is not YAML: Unknown YAML alias"
        ])
        assert.deepEqual(yield* problems("aa: 1\naa: hunter2"), ["2:0 : it is not YAML: Duplicate key"])
        assert.deepEqual(yield* problems("a: *hunter2"), ["0:0 : it is not YAML: Unknown YAML alias"])
        assert.deepEqual(yield* problems(`b: 1\na: [1,\n  "hunter2`), [
          "3:11 : it is not YAML: Unterminated quoted scalar"
        ])
        assert.deepEqual(yield* problems(`[etcd]\npassword = hunter2`, { format: "toml" }), [
          "2:19 : it is not TOML: Invalid value"
        ])
        assert.deepEqual(yield* problems(`{ "etcd":\n  { "password": hunter2 } }`, { format: "json" }), [
          "2:17 : it is not JSON"
        ])
      })
  )

  effect("a declaration whose instance is too large is invalid", () =>
    Effect.gen(function* () {
      const text = `services:\n  - { name: a, endpoints: [http://h:1],\n      metadata: { blob: "${
        "x".repeat(1024 * 1024)
      }" } }`
      assert.deepEqual(yield* problems(text), [
        "2:5 services[0].value: an instance must encode to at most 1048576 bytes"
      ])
    }))
})

describe("variables of a declaration", () => {
  const one = (zone: string, env: Record<string, string | undefined> = {}) =>
    Effect.map(
      Effect.result(
        read(JSON.stringify({ services: [{ name: "a", endpoints: "http://h:1", zone }] }), { env, format: "json" })
      ),
      (read) => Result.isSuccess(read) ? read.success.services[0]?.zone : read.failure.problems[0]?.rule
    )

  effect(
    "a variable of a declaration is replaced, by its default if it is empty or not set",
    () =>
      Effect.gen(function* () {
        assert.equal(yield* one("${Z}", { Z: "eu" }), "eu")
        assert.equal(yield* one("a-${Z}-${Y:-1}", { Z: "eu" }), "a-eu-1")
        assert.equal(yield* one("${Z:-a b:-c}", { Z: "" }), "a b:-c")
        assert.equal(yield* one("${Z:-}", {}), "")
        assert.equal(yield* one("${Z}", { Z: "" }), "")
        assert.equal(yield* one("$${Z} $Z $", { Z: "eu" }), "${Z} $Z $")
      })
  )

  effect("the value of a variable is neither syntax nor a variable", () =>
    Effect.gen(function* () {
      assert.equal(yield* one("${Z}", { Z: '"}\n: ${Y} #' }), '"}\n: ${Y} #')
    }))

  effect("a variable that is not set or malformed is a problem with its position", () =>
    Effect.gen(function* () {
      const text = "services:\n  - name: ${A}\n    endpoints: ['${B}', 'http://${C:-${D}}:1']\n    zone: ${E-e}\n"
      const unset = (name: string) => `the variable ${name} is not set, and there is no default: \${${name}:-default}`
      const rule = "a variable is ${NAME} or ${NAME:-default}, without others in it; ${ itself is $${"
      assert.deepEqual(yield* problems(text), [
        `2:5 services[0].name: ${unset("A")}`,
        `3:17 services[0].endpoints[0]: ${unset("B")}`,
        `3:25 services[0].endpoints[1]: ${rule}`,
        `4:5 services[0].zone: ${rule}`
      ])
    }))

  effect("the value of a variable may be a number or a list with commas", () =>
    Effect.gen(function* () {
      const text =
        "etcd: { endpoints: '${E}' }\nservices: [{ name: a, endpoints: '${P}', weight: '${W}', healthThreshold: '${W}' }]"
      const env = { E: "http://a:1, http://b:2", P: "http://h:1,h:2", W: "4" }
      assert.deepEqual(yield* read(text, { env }), {
        etcd: { endpoints: ["http://a:1", "http://b:2"] },
        services: [{ name: "a", endpoints: ["http://h:1", "tcp://h:2"], weight: 4, healthThreshold: 4 }],
        discover: []
      })
    }))
})

describe("the advertised address", () => {
  effect("the advertised address replaces only wildcard hosts", () =>
    Effect.gen(function* () {
      const advertise = "10.0.0.5"
      for (
        const [given, expected] of [
          ["http://0.0.0.0:8080/a?b=c", "http://10.0.0.5:8080/a?b=c"],
          ["https://0.0.0.0", "https://10.0.0.5"],
          ["grpc://[::]:9000", "grpc://10.0.0.5:9000"],
          ["grpc://[0:0:0:0:0:0:0:0]:9000", "grpc://10.0.0.5:9000"],
          ["http://:8080/", "http://10.0.0.5:8080/"],
          ["0.0.0.0:8080", "tcp://10.0.0.5:8080"],
          ["[::]:8080", "tcp://10.0.0.5:8080"],
          [":8080", "tcp://10.0.0.5:8080"],
          ["http://0.0.0.0.example:80", "http://0.0.0.0.example:80"],
          ["http://10.0.0.0:80", "http://10.0.0.0:80"],
          ["http://[::1]:80", "http://[::1]:80"],
          ["http://h:80/0.0.0.0:1", "http://h:80/0.0.0.0:1"]
        ] as const
      ) {
        assert.equal(yield* endpointOf(given, { advertise }), expected)
      }
    }))

  effect(
    "the advertised address is the option, ADVERTISE_ADDRESS, POD_IP or the first interface that is not loopback",
    () =>
      Effect.gen(function* () {
        const env = { ADVERTISE_ADDRESS: "host-1.example", POD_IP: "fd00::1" }
        const at = (options: DeclarationOptions) => endpointOf("http://0.0.0.0:80", options)
        assert.equal(yield* at({ advertise: "[fd00::2]", env }), "http://[fd00::2]:80")
        assert.equal(yield* at({ env }), "http://host-1.example:80")
        assert.equal(yield* at({ env: { ...env, ADVERTISE_ADDRESS: "" } }), "http://[fd00::1]:80")
        const others = Object.values(networkInterfaces()).flatMap((all = []) => all).filter(({ internal }) => !internal)
        const found = yield* at({})
        if (others.length === 0) assert.match(String(found), /set ADVERTISE_ADDRESS$/)
        else {assert.ok(
            others.some(({ address }) => found === `http://${address}:80` || found === `http://[${address}]:80`),
            found
          )}
      })
  )

  effect(
    "an invalid advertised address is a problem only of the endpoints that need it",
    () =>
      Effect.gen(function* () {
        const options = { env: { POD_IP: "10.0.0.5:80" } }
        assert.equal(
          yield* endpointOf("http://0.0.0.0:80", options),
          "POD_IP must be a host name or an IP address, without a port"
        )
        assert.equal(yield* endpointOf("http://h:80", options), "http://h:80")
      })
  )
})

describe("a declaration in the shape of go-zero", () => {
  const server = `
Name: user.rpc
ListenOn: 0.0.0.0:8080
Mode: dev
Etcd:
  Hosts:
    - 10.0.0.1:2379
    - 10.0.0.2:2379
  Key: user.rpc
  ID: 7
  User: root
  Pass: "\${PASS}"
  CertFile: c.pem
  CertKeyFile: k.pem
  CACertFile: ca.pem
  InsecureSkipVerify: false
  AutoSyncInterval: 1m
Telemetry: { Endpoint: "http://jaeger:14268" }
OrderRpc:
  Etcd:
    Hosts: [10.0.0.1:2379, 10.0.0.2:2379]
    Key: order.rpc
  NonBlock: true
`
  effect(
    "a go-zero file registers its server and discovers the services of its clients",
    () =>
      Effect.gen(function* () {
        const { etcd: { password, ...etcd } = { endpoints: [] }, ...rest } = yield* read(server, {
          env: { PASS: "hunter2", POD_IP: "10.0.0.5" },
          needsEtcd: true
        })
        assert.deepEqual({ etcd, ...rest }, {
          etcd: {
            endpoints: ["10.0.0.1:2379", "10.0.0.2:2379"],
            username: "root",
            tls: { ca: "ca.pem", cert: "c.pem", key: "k.pem" }
          },
          services: [{ name: "user.rpc", id: "7", endpoints: ["tcp://10.0.0.5:8080"], ttl: "10s" }],
          discover: ["order.rpc"]
        })
        assert.ok(Redacted.isRedacted(password) && Redacted.value(password) === "hunter2")
      })
  )

  effect("a go-zero file of a client registers nothing", () =>
    Effect.gen(function* () {
      assert.deepEqual(
        yield* read(`{ "Etcd": { "Hosts": ["h:1"], "Key": "user.rpc", "User": "", "ID": 0 } }`, { format: "json" }),
        {
          etcd: { endpoints: ["h:1"] },
          services: [],
          discover: ["user.rpc"]
        }
      )
    }))

  effect("an invalid go-zero file reports every problem", () =>
    Effect.gen(function* () {
      const text = `ListenOn: nowhere
Etcd:
  Hosts: [h]
  ID: 1.5
  User: root
  CertFile: c.pem
  InsecureSkipVerify: true
A:
  Etcd: { Hosts: [other:1], Key: a/, Pass: hunter2 }
B:
  Etcd: none
`
      assert.deepEqual(yield* problems(text), [
        "1:1 ListenOn: it must be an absolute URL such as http://10.0.0.5:8080, or host:port, without blanks and with a port of 1 to 65535",
        "2:1 Etcd.Key: it is needed",
        "3:11 Etcd.Hosts[0]: it must be host:port, without credentials",
        "4:3 Etcd.ID: it must be a whole number from 0 (none) to 9007199254740991",
        "5:3 Etcd.User: it counts only with Pass beside it",
        "6:3 Etcd.CertFile: it counts only with CertKeyFile and CACertFile beside it",
        "7:3 Etcd.InsecureSkipVerify: it must be false: a server is always verified; give its authority as CACertFile",
        "9:11 A.Etcd.Hosts: they must be those of Etcd: a registry uses one etcd",
        "9:29 A.Etcd.Key: it must not end with '/', which this format adds by itself",
        "9:38 A.Etcd.Pass: it counts only with User beside it",
        "11:3 B.Etcd: it must have members"
      ])
    }))
})

describe("variables and names of a go-zero file", () => {
  const declared = (text: string, env: Record<string, string> = {}) =>
    Effect.map(read(text, { env, advertise: "10.0.0.5" }), ({ discover, etcd, services }) => ({
      endpoints: etcd?.endpoints,
      services: services.map(({ endpoints, name }) => [name, ...endpoints]),
      discover
    }))

  const warnings = (text: string) =>
    Effect.map(
      readDeclaration({ text, format: "yaml", name: "d.yaml" }, { env: {} }, false),
      ({ warnings }) => warnings
    )

  effect("a go-zero file may have names in any case and keys with slashes", () =>
    Effect.gen(function* () {
      const text = `
listenOn: 10.0.0.5:8080
etcd:
  hosts: [h:1]
  KEY: prod/user.rpc
orderRpc:
  etcd: { HOSTS: "h:1", key: prod/order.rpc }
`
      assert.deepEqual(yield* declared(text), {
        endpoints: ["h:1"],
        services: [["prod/user.rpc", "tcp://10.0.0.5:8080"]],
        discover: ["prod/order.rpc"]
      })
      assert.deepEqual(yield* problems("A: { Etcd: { Hosts: [h:1], hosts: [h:2], Key: a } }"), [
        "1:28 A.Etcd.hosts: Hosts occurs twice"
      ])
    }))

  effect("a go-zero file expands variables only in the settings that are read", () =>
    Effect.gen(function* () {
      const text = `
Name: $UNSET
Mysql: { DataSource: "\${ALSO_UNSET}:pa$word" }
ListenOn: $HOST:8080
Etcd: { Hosts: ["\${ETCD}"], Key: "$KEY.rpc", User: root, Pass: "a$$b" }
`
      assert.deepEqual(yield* declared(text, { HOST: "10.0.0.9", ETCD: "h:1", KEY: "user" }), {
        endpoints: ["h:1"],
        services: [["user.rpc", "tcp://10.0.0.9:8080"]],
        discover: []
      })
      assert.deepEqual(yield* problems("Etcd: { Hosts: [h:1], Key: $KEY }"), [
        "1:23 Etcd.Key: the variable KEY is not set, and there is no default: ${KEY:-default}"
      ])
    }))

  effect("a go-zero file may name the hosts of one etcd in any order", () =>
    Effect.gen(function* () {
      const text = "A: { Etcd: { Hosts: [b:1, a:1], Key: x } }\nB: { Etcd: { Hosts: ['A:1', 'b:1'], Key: y } }"
      assert.deepEqual((yield* declared(text)).discover, ["x", "y"])
    }))

  effect("a go-zero file registers every ListenOn beside an Etcd, at any level", () =>
    Effect.gen(function* () {
      const text = `
Name: api
Host: 0.0.0.0
Port: 8888
Servers:
  - Rpc:
      ListenOn: :9000
      Etcd: { Hosts: [h:1], Key: a.rpc }
  - Rpc:
      ListenOn: 0.0.0.0:9001
      Etcd: { Hosts: [h:1], Key: b.rpc, ID: 3 }
`
      assert.deepEqual((yield* declared(text)).services, [
        ["a.rpc", "tcp://10.0.0.5:9000"],
        ["b.rpc", "tcp://10.0.0.5:9001"]
      ])
    }))

  effect("a go-zero file discovers the upstreams of a gateway and targets of etcd", () =>
    Effect.gen(function* () {
      const text = `
Name: gateway
Upstreams:
  - Grpc:
      Etcd: { Hosts: ["h1:1", "h2:1"], Key: hello.rpc }
    ProtoSets: [hello.pb]
  - Grpc:
      Target: etcd://h2:1,h1:1/prod/world.rpc
  - Grpc:
      Target: dns:///other:8080
  - Http:
      Target: localhost:8080
`
      assert.deepEqual(yield* declared(text), {
        endpoints: ["h1:1", "h2:1"],
        services: [],
        discover: ["hello.rpc", "prod/world.rpc"]
      })
      assert.deepEqual(yield* problems("A: { Target: 'etcd://h/' }"), [
        "1:6 A.Target: it must be etcd://host:port/key, or several host:port with commas"
      ])
    }))

  effect("a go-zero file logs what it ignores and never its values", () =>
    Effect.gen(function* () {
      const text = `
A: { Etcd: { Hosts: [h:1], Key: a, Keys: hunter2 } }
B: { Etcd: { Hosts: [h:1], Key: b }, Endpoints: ["10.0.0.1:80"] }
C: { Etcd: { Hosts: [h:1], Key: c }, Target: "etcd://h:1/d" }
`
      assert.deepEqual(yield* warnings(text), [
        "d.yaml:2:36 A.Etcd.Keys: go-zero's Etcd has no such setting; it is ignored",
        "d.yaml:3:6 B.Etcd: it is ignored: Endpoints beside it override it",
        "d.yaml:4:6 C.Etcd: it is ignored: Target beside it overrides it"
      ])
      assert.deepEqual((yield* declared(text)).discover, ["a", "d"])
    }))

  effect("a go-zero file without an Etcd is a problem that names it", () =>
    Effect.gen(function* () {
      const rule =
        "this file of go-zero has no Etcd: { Hosts, Key } and no Target: etcd://hosts/key, so it declares nothing"
      assert.deepEqual(yield* problems("Name: user.rpc\nListenOn: 0.0.0.0:8080\nMode: dev"), [`1:1 : ${rule}`])
      assert.deepEqual(yield* problems("A: { Etcd: { Hosts: [h:1], Key: a }, Endpoints: ['h:80'] }"), [`1:1 : ${rule}`])
    }))

  effect("a go-zero file must use one user for one etcd", () =>
    Effect.gen(function* () {
      const one = "A: { Etcd: { Hosts: [h:1], Key: a } }\nB: { Etcd: { Hosts: [h:1], Key: b, User: u, Pass: p } }\n"
      const { etcd } = yield* read(one)
      assert.equal(etcd?.username, "u")
      assert.deepEqual(yield* problems(`${one}C: { Etcd: { Hosts: [h:1], Key: c, User: v, Pass: p } }`), [
        "3:14 C.Etcd.Hosts: its user and certificates must be those of the other Etcd blocks"
      ])
    }))
})

describe("readDocument", () => {
  effect("readDocument finds members and items of YAML and JSON by their paths", () =>
    Effect.gen(function* () {
      const text = `# comment
services:
  - name: a # comment
    "endpoints":
    - http://h:1
    - { x: [1, "two"] }
discover: &d [payments,
  users]
x-copy: *d
`
      const locate = yield* (yield* readDocument("yaml", text)).locate
      const at = (path: Path) => {
        const { column, line } = locate(path) ?? { column: 0, line: 0 }
        return `${line}:${column}`
      }
      assert.deepEqual(
        [
          at([]),
          at(["services"]),
          at(["services", 0]),
          at(["services", 0, "endpoints"]),
          at(["services", 0, "endpoints", 1, "x", 1]),
          at(["discover", 1]),
          // Behind an alias, and missing: the nearest one above.
          at(["x-copy", 1]),
          at(["services", 0, "zone"]),
          at(["missing"])
        ],
        ["1:1", "2:1", "3:5", "4:5", "6:16", "8:3", "9:1", "3:5", "1:1"]
      )
      const json = yield* (yield* readDocument("json", `{\r\n\t"a": [1,\r\n\t\t{ "b": null }]\r\n}`)).locate
      assert.deepEqual(json(["a", 1, "b"]), { line: 3, column: 5 })
      const toml = yield* (yield* readDocument("toml", "a = 1")).locate
      assert.equal(toml(["a"]), undefined)
    }))

  for (
    const [text, line, column] of [
      [`{\n  "a": hunter2\n}`, 2, 8],
      [`{"a": 1,\n "b" 2}`, 2, 6],
      [`{"a": [1, 2,]}`, 1, 13],
      [`{"a": 1`, 1, 8],
      [`{a: 1}`, 1, 2],
      [`{"a": 1} x`, 1, 10],
      [``, 1, 1]
    ] as const
  ) {
    effect(`readDocument finds where ${JSON.stringify(text)} stops being JSON`, () =>
      Effect.gen(function* () {
        const failed = yield* Effect.flip(readDocument("json", text))
        assert.deepEqual(failed, { rule: "it is not JSON", line, column })
      }))
  }
})

describe("a file", () => {
  effect("a declaration is read by its path or its URL in the format of its name", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "declared-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const files = {
        "a.yaml": "discover: [a]",
        "b.YML": "discover: [a]",
        "c.toml": `discover = ["a"]`,
        "d.json": `\uFEFF{"discover":["a"]}`
      }
      for (const [name, text] of Object.entries(files)) {
        const path = join(folder, name)
        writeFileSync(path, text)
        for (const source of [path, pathToFileURL(path)]) {
          const { discover } = yield* readDeclaration(source, {}, false)
          assert.deepEqual(discover.map(({ name }) => name), ["a"])
        }
      }
      const failing = (source: Source) =>
        Effect.map(Effect.flip(readDeclaration(source, {}, false)), ({ message }) => message)
      const missing = join(folder, "none.yaml")
      assert.equal(
        yield* failing(missing),
        `nothing was registered: 1 problem\n  ${missing} it is unreadable (ENOENT)`
      )
      assert.match(yield* failing("a.ini"), /a\.ini its name must end in \.yaml, \.yml, \.toml or \.json$/)
      const remote = yield* failing(new URL("https://user:hunter2@example.com/a.yaml"))
      assert.match(remote, /its URL must begin with file:\/\/\/$/)
      assert.doesNotMatch(remote, /hunter2/)
      for (const source of [{ text: "", format: "xml" }, { text: 5, format: "json" }, { format: "json" }]) {
        assert.match(yield* failing(source as never), /it must have a text, and the format json, yaml or toml$/)
      }
    }))
})
