// The exact bytes that the originals write, and hostile or broken ones.
import { Arbitrary, Effect, Result, type Schema } from "effect"
import assert from "node:assert/strict"
import { dubbo, goKit, goZero, grpcNaming, kitex, kratos, skydns } from "../../src/interop/mod.ts"
import type { Codec } from "../../src/registry/model/Codec.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import { describe, live } from "../harness/it.ts"
import { bytes, int, oneOf, property } from "../registry/model/property.ts"

const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))
const encoder = new TextEncoder()
const decoder = new TextDecoder()

type Strings = Readonly<Record<string, string>>
type AnyCodec = Codec<Strings> | Codec<Schema.Json>

const bytesOf = (value: string | Uint8Array) => typeof value === "string" ? encoder.encode(value) : value

/** The instance at a key as consumers receive it, or why it is rejected. */
const read = (codec: AnyCodec, name: string, key: string, value: string): ServiceInstance<Schema.Json> | string => {
  const id = codec.layout?.idOf(name, encoder.encode(key))
  if (id === undefined) return "passed over"
  const decoded = codec.decode(name, id, encoder.encode(value))
  return Result.isSuccess(decoded) ? decoded.success : decoded.failure.detail
}

/** The key and the value that are written, or the member that is refused and the reason. */
const written = (codec: AnyCodec, instance: ServiceInstance<Strings>): readonly [string, string] => {
  const value = codec.encode(instance)
  return Result.isSuccess(value) ?
    [codec.layout?.key(instance.name, instance.id) ?? "", decoder.decode(value.success)] :
    [value.failure.member ?? "", value.failure.detail]
}

const all: ReadonlyArray<AnyCodec> = [goKit, goZero, grpcNaming, kratos, kitex, dubbo, skydns]

const plain = { metadata: {}, weight: 1, status: "up" } as const

/** A codec of each format with the key, the value and the instance of an example. */
const examples: ReadonlyArray<{
  readonly title: string
  readonly codec: AnyCodec
  readonly key: string
  readonly value: string
  readonly instance: ServiceInstance<Readonly<Record<string, string>>>
  /** The value as it is written, if it differs from the one that is read. */
  readonly put?: string
}> = [
  {
    title: "goKit",
    codec: goKit,
    key: "/services/foosvc/1.2.3.4:8080",
    value: "http://1.2.3.4:8080",
    instance: { id: "1.2.3.4:8080", name: "/services/foosvc/", endpoints: ["http://1.2.3.4:8080"], ...plain }
  },
  {
    title: "goKit with a bare address",
    codec: goKit,
    key: "/services/foosvc/1.2.3.4:8080",
    value: "1.2.3.4:8080",
    instance: { id: "1.2.3.4:8080", name: "/services/foosvc", endpoints: ["tcp://1.2.3.4:8080"], ...plain }
  },
  {
    title: "grpcNaming",
    codec: grpcNaming,
    key: "foo/bar/my-service/1.2.3.4:8080",
    value: `{"Op":0,"Addr":"1.2.3.4:8080","Metadata":null}`,
    instance: { id: "1.2.3.4:8080", name: "foo/bar/my-service", endpoints: ["tcp://1.2.3.4:8080"], ...plain }
  },
  {
    title: "grpcNaming with an address only",
    codec: grpcNaming,
    key: "foo/bar/my-service/a",
    value: `{"Addr":"1.2.3.4"}`,
    put: `{"Op":0,"Addr":"1.2.3.4","Metadata":null}`,
    instance: { id: "a", name: "foo/bar/my-service", endpoints: ["tcp://1.2.3.4"], ...plain }
  },
  {
    title: "goZero",
    codec: goZero({ scheme: "grpc" }),
    key: "user.rpc/7587862094012345678",
    value: "10.0.0.1:8080",
    instance: { id: "10.0.0.1:8080", name: "user.rpc", endpoints: ["grpc://10.0.0.1:8080"], ...plain }
  },
  {
    title: "kratos",
    codec: kratos,
    key: "/microservices/helloworld/host-1",
    value: `{"id":"host-1","name":"helloworld","version":"v1","metadata":{"weight":"10"},` +
      `"endpoints":["http://127.0.0.1:8000?isSecure=false","grpc://127.0.0.1:9000?isSecure=false"]}`,
    put: `{"id":"host-1","name":"helloworld","version":"v1","metadata":{"weight":"10"},` +
      `"endpoints":["http://127.0.0.1:8000","grpc://127.0.0.1:9000"]}`,
    instance: {
      id: "host-1",
      name: "helloworld",
      version: "v1",
      metadata: { weight: "10" },
      endpoints: ["http://127.0.0.1:8000", "grpc://127.0.0.1:9000"],
      weight: 10,
      status: "up"
    }
  },
  {
    title: "kratos with nulls",
    codec: kratos({ namespace: "/staging" }),
    key: "/staging/helloworld/host-1",
    value: `{"id":"host-1","name":"helloworld","version":"","metadata":null,"endpoints":["grpc://127.0.0.1:9000"]}`,
    put: `{"id":"host-1","name":"helloworld","version":"","metadata":{},"endpoints":["grpc://127.0.0.1:9000"]}`,
    instance: {
      id: "host-1",
      name: "helloworld",
      endpoints: ["grpc://127.0.0.1:9000"],
      ...plain,
      weight: 100
    }
  },
  {
    title: "kitex",
    codec: kitex,
    key: "kitex/registry-etcd/echo/10.0.0.1:8888",
    value: `{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":{"k":"v"}}`,
    instance: {
      id: "10.0.0.1:8888",
      name: "echo",
      endpoints: ["tcp://10.0.0.1:8888"],
      metadata: { k: "v" },
      weight: 10,
      status: "up"
    }
  },
  {
    title: "kitex without a prefix and without tags",
    codec: kitex({ prefix: "" }),
    key: "/echo/10.0.0.1:8888",
    value: `{"network":"tcp","address":"10.0.0.1:8888","weight":3,"tags":null}`,
    instance: { id: "10.0.0.1:8888", name: "echo", endpoints: ["tcp://10.0.0.1:8888"], ...plain, weight: 3 }
  },
  {
    title: "dubbo",
    codec: dubbo,
    key: "/services/demo/10.0.0.1:20000",
    value: `{"ID":"10.0.0.1:20000","ServiceName":"demo","Host":"10.0.0.1","Port":20000,"Weight":0,"Enable":true,` +
      `"Healthy":true,"Metadata":{},"ServiceMetadata":null,"Address":"10.0.0.1:20000","GroupName":"","Tag":""}\n`,
    instance: {
      id: "10.0.0.1:20000",
      name: "demo",
      endpoints: ["tcp://10.0.0.1:20000"],
      ...plain,
      weight: 100
    }
  },
  {
    title: "skydns",
    codec: skydns({ scheme: "http" }),
    key: "/skydns/org/example/orders/web-1",
    value: `{"host":"10.0.0.5","port":80,"weight":10,"text":"v=1","ttl":30,"group":"a"}`,
    instance: {
      id: "web-1",
      name: "orders.example.org",
      endpoints: ["http://10.0.0.5:80"],
      metadata: { text: "v=1", group: "a" },
      weight: 10,
      status: "up"
    }
  },
  {
    title: "skydns with an IPv6 address and CoreDNS' defaults",
    codec: skydns({ path: "/dns", recordTtl: "1 minute" }),
    key: "/dns/local/orders/a",
    value: `{"host":"fd00::5","port":8080}`,
    put: `{"host":"fd00::5","port":8080,"weight":100,"ttl":60}`,
    instance: { id: "a", name: "orders.local", endpoints: ["tcp://[fd00::5]:8080"], ...plain, weight: 100 }
  },
  {
    title: "skydns without a port",
    codec: skydns,
    key: "/skydns/local/orders/eu/a",
    value: `{"Host":"h.example.org","TTL":60}`,
    put: `{"host":"h.example.org","weight":100,"ttl":30}`,
    instance: { id: "eu/a", name: "orders.local", endpoints: ["tcp://h.example.org"], ...plain, weight: 100 }
  }
]

describe("the codecs of ./interop", () => {
  for (const { codec, instance, key, put, title, value } of examples) {
    test(`${title} reads the bytes of the original`, () => {
      assert.deepEqual(read(codec, instance.name, key, value), instance)
    })
    test(`${title} writes an instance as the original does`, () => {
      // go-zero reads the id of an instance from its value, so the number in the key comes from the registration.
      const id = codec.layout?.idFromValue === true ? key.slice(key.lastIndexOf("/") + 1) : instance.id
      assert.deepEqual(written(codec, { ...instance, id }), [key, put ?? value])
    })
  }

  test("kratos reads Go's \\u0026 as & and selects the scheme by isSecure", () => {
    const value = `{"id":"a","name":"helloworld","version":"","metadata":{"q":"\\u003c\\u0026\\u003e"},` +
      `"endpoints":["http://h:1?isSecure=true","grpc://h:2?isSecure=true","https://h:3","http://h:4/p?x=1\\u0026y=2"]}`
    const found = read(kratos, "helloworld", "/microservices/helloworld/a", value)
    assert.deepEqual(found, {
      id: "a",
      name: "helloworld",
      metadata: { q: "<&>" },
      endpoints: ["https://h:1", "grpcs://h:2", "https://h:3", "http://h:4/p?x=1&y=2"],
      weight: 100,
      status: "up"
    })
  })

  test("codecs of ./interop give each format's weight to a missing, zero, negative or invalid one", () => {
    const ofKratos = (metadata: string) =>
      read(kratos, "s", "/microservices/s/a", `{"id":"a","name":"s","metadata":${metadata},"endpoints":["http://h:1"]}`)
    const ofKitex = (weight: string) =>
      read(kitex, "s", "kitex/registry-etcd/s/h:1", `{"network":"tcp","address":"h:1"${weight}}`)
    const ofDubbo = (weight: string) =>
      read(dubbo, "s", "/services/s/h:1", `{"ServiceName":"s","Host":"h","Port":1${weight}}`)
    const weights = [
      ofKratos(`{}`),
      ofKratos(`{"weight":"0"}`),
      ofKratos(`{"weight":"7"}`),
      ofKratos(`{"weight":"-7"}`),
      ofKratos(`{"weight":"many"}`),
      ofKratos(`{"weight":"1e9"}`),
      ofKitex(``),
      ofKitex(`,"weight":0`),
      ofKitex(`,"weight":-1`),
      ofKitex(`,"weight":3`),
      ofDubbo(``),
      ofDubbo(`,"Weight":0`),
      ofDubbo(`,"Weight":30`)
    ].map((found) => typeof found === "string" ? found : found.weight)
    assert.deepEqual(weights, [100, 0, 7, 100, 100, 100, 10, 10, 10, 3, 100, 100, 30])
  })

  test("dubbo reads a disabled or unhealthy instance as down and puts an IPv6 host into brackets", () => {
    const readDubbo = (members: string) =>
      read(
        dubbo({ scheme: "tri" }),
        "s",
        "/services/s/h:1",
        `{"ServiceName":"s","Host":"::1","Port":1,${members}}\n`
      )
    const found = [`"Enable":true,"Healthy":true`, `"Enable":false,"Healthy":true`, `"Enable":true,"Healthy":false`]
      .map(readDubbo).map((one) => typeof one === "string" ? one : [one.status, ...one.endpoints])
    assert.deepEqual(found, [["up", "tri://[::1]:1"], ["down", "tri://[::1]:1"], ["down", "tri://[::1]:1"]])
    const down = { id: "a", name: "s", endpoints: ["tri://[::1]:1"], metadata: {}, weight: 1, status: "down" } as const
    assert.match(written(dubbo({ scheme: "tri" }), down)[1], /"Host":"::1","Port":1,.*"Healthy":false/)
  })

  test("codecs of ./interop do not read keys of another service", () => {
    const at = (codec: AnyCodec, name: string, key: string) => read(codec, name, key, "") === "passed over"
    assert.deepEqual([
      at(goZero, "user.rpc", "user.rpc2/1"),
      at(kratos, "hello", "/microservices/helloworld/a"),
      at(kitex, "echo", "/echo/h:1"),
      at(goKit, "/services/a", "/services/ab/h:1"),
      at(goKit({ exactPrefix: true }), "/services/a", "/services/ab/h:1"),
      at(grpcNaming, "foo", "foobar/h:1"),
      at(skydns, "orders.example.org", "/skydns/org/example/orders2/a")
    ], [true, true, true, true, false, true, true])
  })

  test("codecs of ./interop read every id that the original reads", () => {
    const idAt = (codec: AnyCodec, name: string, key: string, value: string) => {
      const found = read(codec, name, key, value)
      return typeof found === "string" ? found : found.id
    }
    const address = "10.0.0.1:80"
    for (const id of ["host-1", "007", "9223372036854775808", "-1", "1/2", "", "x".repeat(300)]) {
      assert.equal(idAt(goZero, "user.rpc", `user.rpc/${id}`, address), address, id)
    }
    const kratosValue = (id: string) => `{"id":"${id}","name":"s","endpoints":["http://h:1"]}`
    for (const id of ["a/b", "", "x".repeat(300), ".", ".."]) {
      assert.equal(idAt(kratos, "s", `/microservices/s/${id}`, kratosValue(id)), id)
      assert.equal(idAt(goKit, "/services/s", `/services/s/${id}`, address), id)
      assert.equal(idAt(kitex, "s", `kitex/registry-etcd/s/${id}`, `{"network":"tcp","address":"h:1"}`), id)
      assert.equal(idAt(dubbo, "s", `/services/s/${id}`, `{"ServiceName":"s","Host":"h","Port":1}`), id)
      assert.equal(idAt(grpcNaming, "s", `s/${id}`, `{"Addr":"h:1"}`), id)
    }
    assert.equal(idAt(goKit({ exactPrefix: true }), "/services/s", "/services/s", address), "")
  })

  test("codecs of ./interop match names in any case, as Go does, and refuse two spellings of one name", () => {
    const kratosAt = (value: string) => read(kratos, "s", "/microservices/s/a", value)
    const found = kratosAt(
      `{"ID":"a","Name":"s","VERSION":"v1","Metadata":{"Key":"v","key":null},"EndPoints":["http://h:1"]}`
    )
    assert.deepEqual(found, {
      id: "a",
      name: "s",
      version: "v1",
      metadata: { Key: "v", key: "" },
      endpoints: ["http://h:1"],
      weight: 100,
      status: "up"
    })
    assert.equal(kratosAt(`{"id":"a","ID":"b","name":"s","endpoints":["http://h:1"]}`), `"id" occurs twice`)
    const lower = read(dubbo, "s", "/services/s/h:1", `{"serviceName":"s","host":"h","port":1,"enable":false}`)
    assert.equal(typeof lower === "string" ? lower : lower.status, "down")
    const tags = read(kitex, "s", "kitex/registry-etcd/s/a", `{"Network":"tcp","Address":"h:1","Tags":{"a":"b"}}`)
    assert.deepEqual(typeof tags === "string" ? tags : tags.metadata, { a: "b" })
  })

  test("kratos keeps an instance without endpoints unavailable and leaves out one bad URL of several", () => {
    const at = (endpoints: string) => {
      const found = read(kratos, "s", "/microservices/s/a", `{"id":"a","name":"s","endpoints":${endpoints}}`)
      return typeof found === "string" ? found : [found.status, found.endpoints]
    }
    assert.deepEqual(at("null"), ["down", []])
    assert.deepEqual(at("[]"), ["down", []])
    assert.deepEqual(at(`["nonsense","grpc://h:1"]`), ["up", ["grpc://h:1"]])
    assert.deepEqual(at(`["nonsense"]`), `"nonsense" is not a URL`)
  })

  test("messages about rejected values stay short even for large values", () => {
    const long = "x".repeat(1_000_000)
    for (const codec of all) {
      for (const value of [long, `http://${long}`, `{"${long}":1,"${long}":2}`, `{"id":"${long}","Addr":"${long}"}`]) {
        const decoded = codec.decode("s", "1", encoder.encode(value))
        if (Result.isFailure(decoded)) {
          assert.ok(decoded.failure.message.length < 600, decoded.failure.message.slice(0, 80))
        }
      }
    }
    assert.match(
      written(goKit, { id: "a", name: "s", endpoints: ["http://h"], ...plain, metadata: { a: long } })[1],
      /cannot keep this/
    )
    assert.ok(written(kitex, { id: "a", name: "s", endpoints: ["tcp://h:1"], ...plain, zone: long })[1].length < 600)
  })

  test("goZero reads int64 ids without loss and generates random ones", () => {
    for (const id of ["9223372036854775807", "-9223372036854775808", "7587862094012345678", "0", "42"]) {
      assert.equal(goZero.layout?.idOf("user.rpc", encoder.encode(`user.rpc/${id}`)), id)
    }
    const ids = Array.from({ length: 100 }, () => goZero.layout?.newId("user.rpc", []) ?? "")
    assert.equal(new Set(ids).size, 100)
    for (const id of ids) assert.ok(BigInt(id) > 0n && BigInt(id) < 2n ** 63n, id)
  })

  const broken: ReadonlyArray<readonly [title: string, codec: AnyCodec, value: string | Uint8Array, why: RegExp]> = [
    ["goKit: nothing", goKit, "", /is not an address/],
    ["goKit: a word", goKit, "hello", /is not an address/],
    ["goKit: half a URL", goKit, "http://", /is not a URL/],
    ["goKit: a byte order mark", goKit, "\ufeff10.0.0.1:80", /is not an address/],
    ["goZero: a URL", goZero, "http://10.0.0.1:80", /is not an address/],
    ["goZero: a newline", goZero, "10.0.0.1:80\n", /is not an address/],
    ["goZero: a port beyond all", goZero, "10.0.0.1:65536", /is not an address/],
    ["goZero: port 0", goZero, "10.0.0.1:0", /is not an address/],
    ["goZero: no port", goZero, "10.0.0.1", /is not an address/],
    [
      "grpcNaming: metadata without an address",
      grpcNaming,
      `{"Op":0,"Addr":"","Metadata":{"a":1}}`,
      /"Addr" is empty/
    ],
    ["grpcNaming: an address that is no text", grpcNaming, `{"Addr":1}`, /Addr/],
    ["grpcNaming: a list", grpcNaming, "[]", /object/],
    ["kratos: another name", kratos, `{"id":"1","name":"s2","endpoints":["http://h:1"]}`, /"name" must be/],
    ["kratos: another id", kratos, `{"id":"2","name":"s","endpoints":["http://h:1"]}`, /"id" must be/],
    ["kratos: an endpoint that is no URL", kratos, `{"id":"1","name":"s","endpoints":["h"]}`, /is not a URL/],
    [
      "kratos: metadata of numbers",
      kratos,
      `{"id":"1","name":"s","metadata":{"a":1},"endpoints":["http://h:1"]}`,
      /a/
    ],
    ["kitex: an unknown network", kitex, `{"network":"unix","address":"/tmp/s"}`, /network/],
    ["kitex: half a weight", kitex, `{"network":"tcp","address":"h:1","weight":0.5}`, /weight/],
    [
      "dubbo: another application",
      dubbo,
      `{"ServiceName":"t","Host":"h","Port":1}`,
      /"ServiceName" must be/
    ],
    ["dubbo: port 0", dubbo, `{"ServiceName":"s","Host":"h","Port":0}`, /is not an address/],
    ["dubbo: no text but null", dubbo, "null", /object/]
  ]
  const sound: ReadonlyArray<readonly [title: string, codec: AnyCodec, value: string]> = [
    ["grpcNaming", grpcNaming, `{"Op":0,"Addr":"h:1","Metadata":null}`],
    ["kratos", kratos, `{"id":"1","name":"s","version":"","metadata":null,"endpoints":["http://h:1"]}`],
    ["kitex", kitex, `{"network":"tcp","address":"h:1","weight":1,"tags":null}`],
    ["dubbo", dubbo, `{"ServiceName":"s","Host":"h","Port":1}`]
  ]
  const decode = (codec: AnyCodec, value: string | Uint8Array) => codec.decode("s", "1", bytesOf(value))
  const whyNot = (codec: AnyCodec, value: string | Uint8Array): string => {
    const decoded = decode(codec, value)
    return Result.isFailure(decoded) ? decoded.failure.detail : `an instance: ${JSON.stringify(decoded.success)}`
  }

  test("codecs of ./interop reject a broken value with the reason", () => {
    for (const [title, codec, value, why] of broken) assert.match(whyNot(codec, value), why, title)
  })

  test("codecs of ./interop reject values that are not UTF-8, too large, cut off, or have a duplicate name or a byte order mark", () => {
    for (const [title, codec, value] of sound) {
      assert.ok(Result.isSuccess(decode(codec, value)), title)
      assert.ok(Result.isSuccess(decode(codec, `${value}\n`)), `${title} and a newline`)
      const name = /"(\w+)"/.exec(value)?.[1] ?? ""
      const escaped = `\\u${name.charCodeAt(0).toString(16).padStart(4, "0")}${name.slice(1)}`
      assert.match(whyNot(codec, value.replace("{", `{"${name}":null,`)), new RegExp(`^"${name}" occurs twice`))
      assert.match(whyNot(codec, value.replace("{", `{"${escaped}" : null,`)), /occurs twice/, `${title}, escaped`)
      assert.match(whyNot(codec, value.replace("{", `{"x":[{"a":1,"b":"\\"{","a":2}],`)), /^"a" occurs twice/)
      assert.ok(Result.isSuccess(decode(codec, value.replace("{", `{"x":[{"a":"a"},{"a":{"a":["a","a"]}}],`))), title)
      assert.equal(whyNot(codec, `\ufeff${value}`), "the value is not JSON", title)
      assert.equal(whyNot(codec, value.slice(0, -1)), "the value is not JSON", title)
      assert.equal(whyNot(codec, ""), "the value is not JSON", title)
      assert.match(whyNot(codec, value + " ".repeat(1024 * 1024)), /^the value has \d+ bytes, more than 1048576/)
      assert.match(whyNot(codec, `{"x":${"[".repeat(200_000)}${"]".repeat(200_000)}}`), /./)
    }
    for (const codec of all) {
      assert.equal(whyNot(codec, new Uint8Array([0x7b, 0xff, 0x7d])), "the value is not UTF-8")
    }
  })

  property(
    "codecs of ./interop never throw when they decode any bytes",
    Arbitrary.all([bytes, int(0, all.length - 1)]),
    ([value, index]) => {
      assert.ok(Result.isFailure(decode(all[index] ?? goKit, value)))
    }
  )

  property(
    "codecs of ./interop decode a value with one changed byte to a valid instance or reject it",
    Arbitrary.all([int(0, sound.length - 1), int(0, 10_000), int(0, 255)]),
    ([index, at, byte]) => {
      const [title, codec, text] = sound[index] ?? ["", kratos, ""]
      const value = encoder.encode(text)
      value[at % value.length] = byte
      const decoded = decode(codec, value)
      if (Result.isSuccess(decoded)) {
        const { endpoints, status, weight } = decoded.success
        assert.ok(endpoints.length === 1 || (endpoints.length === 0 && status === "down"), title)
        assert.ok(Number.isFinite(weight), title)
      }
    }
  )

  const endpointLists = [["tcp://h:1"], ["http://h:1"], ["tcp://h:1", "tcp://h:2"], ["grpc://h:1/path"]]
  property(
    "codecs of ./interop read back what they write and refuse members that they would not read back",
    Arbitrary.all([
      int(0, all.length - 1),
      int(0, endpointLists.length - 1),
      oneOf(0, 1, 10, 0.5, 100),
      oneOf("up", "starting", "draining", "down"),
      int(0, 7)
    ]),
    ([index, list, weight, status, more]) => {
      const codec = all[index] ?? goKit
      const endpoints = endpointLists[list] ?? []
      const metadata: Strings = more & 4 ? { a: "<&>" } : {}
      const instance: ServiceInstance = {
        id: "1",
        name: "s",
        endpoints,
        weight,
        status,
        metadata,
        ...(more & 1 ? { zone: "z" } : {}),
        ...(more & 2 ? { version: "v" } : {})
      }
      const value = codec.encode(instance)
      if (Result.isFailure(value)) {
        assert.ok(value.failure.member !== undefined, value.failure.detail)
        return
      }
      const { id: _, ...back } = Result.getOrThrow(codec.decode("s", "1", value.success))
      const { id: __, ...expected } = instance
      // kratos keeps the weight in the metadata.
      const kept = codec === kratos && weight !== 100 ? { ...metadata, weight: String(weight) } : metadata
      assert.deepEqual(back, { ...expected, metadata: kept })
    }
  )

  test("codecs of ./interop refuse members that the format cannot store and name them", () => {
    const base = { id: "1", name: "s", endpoints: ["tcp://h:1"], metadata: {}, weight: 1, status: "up" } as const
    assert.deepEqual(
      [
        written(goZero, { ...base, metadata: { a: "1" } }),
        written(goZero, { ...base, weight: 2 }),
        written(goZero, { ...base, zone: "eu" }),
        written(goZero, { ...base, status: "draining" }),
        written(goKit, { ...base, version: "1" }),
        written(goKit, { ...base, endpoints: ["tcp://h:1", "tcp://h:2"] }),
        written(goZero, { ...base, endpoints: ["http://h:1"] }),
        written(kitex, { ...base, weight: 0 }),
        written(kratos, { ...base, weight: 100, metadata: { weight: "3" } })
      ],
      [
        ["metadata", "go-zero cannot keep this: it would be read as {}"],
        ["weight", "go-zero cannot keep this: it would be read as 1"],
        ["zone", "go-zero cannot keep this: it would be read as nothing"],
        ["status", `go-zero cannot keep this: it would be read as "up"`],
        ["version", "go-kit cannot keep this: it would be read as nothing"],
        ["endpoints", "this format has exactly one endpoint for each instance"],
        ["endpoints", "this format keeps no scheme: the endpoint must be tcp://host:port and no more"],
        ["weight", "Kitex cannot keep this: it would be read as 10"],
        [
          "/microservices/s/1",
          `{"id":"1","name":"s","version":"","metadata":{"weight":"100"},"endpoints":["tcp://h:1"]}`
        ]
      ]
    )
  })

  test("grpcNaming refuses metadata that is not JSON", () => {
    const cyclic: Record<string, Schema.Json> = {}
    cyclic["self"] = cyclic
    const base = { id: "1", name: "s", endpoints: ["tcp://h:1"], weight: 1, status: "up" } as const
    const value = grpcNaming.encode({ ...base, metadata: cyclic })
    assert.equal(Result.isFailure(value) && value.failure.member, "metadata")
  })
})
