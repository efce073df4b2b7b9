import { Arbitrary, Duration, Effect, Result } from "effect"
import assert from "node:assert/strict"
import { endpoint, endpointRule } from "../../../src/registry/model/Endpoint.ts"
import * as Keyspace from "../../../src/registry/model/Keyspace.ts"
import { instanceId, nameRule, serviceName } from "../../../src/registry/model/ServiceName.ts"
import * as Ttl from "../../../src/etcd/Ttl.ts"
import { checkOptions } from "../../../src/internal/options.ts"
import { describe, live } from "../../harness/it.ts"
import { bytes, int, property, text } from "./property.ts"

const encoder = new TextEncoder()
const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))
const keyspace = Result.getOrThrow(Keyspace.make("/services"))
const isName = (name: string) => Result.isSuccess(serviceName(name))

describe("names and ids", () => {
  property("serviceName and instanceId accept exactly what the rule allows", text, (name) => {
    const length = encoder.encode(name).length
    const legal = name.isWellFormed() && length >= 1 && length <= 253 && name !== "." && name !== ".." &&
      [...name].every((char) => char !== "/" && !/\p{Cc}/u.test(char))
    assert.deepEqual(
      [Result.isSuccess(serviceName(name)), Result.isSuccess(instanceId(name))],
      [legal, legal],
      JSON.stringify(name)
    )
  }, 3000)

  test("serviceName returns the broken rule, even for a value that is not a string", () => {
    for (const value of ["", "a/b", undefined, null, 7, {}, ["a"]]) {
      assert.deepEqual(serviceName(value as string), Result.fail(nameRule))
    }
    assert.deepEqual(serviceName("__proto__"), Result.succeed("__proto__"))
  })
})

describe("Keyspace", () => {
  property(
    "serviceOf and idOf return what key was made of",
    Arbitrary.all([text, text]),
    ([name, id]) => {
      if (!isName(name) || !isName(id)) return
      const key = encoder.encode(keyspace.key(name, id))
      assert.equal(keyspace.serviceOf(key), name)
      assert.equal(keyspace.idOf(name, key), id)
    },
    2000
  )

  property(
    "Keyspace.idOf never returns an instance of another service",
    Arbitrary.all([text, text, text]),
    ([a, b, id]) => {
      if (!isName(a) || !isName(b) || !isName(id) || a === b) return
      assert.equal(keyspace.idOf(a, encoder.encode(keyspace.key(b, id))), undefined)
    },
    2000
  )

  property("Keyspace.serviceOf returns nothing, or the service in whose range the key is", bytes, (tail) => {
    const key = new Uint8Array([...encoder.encode("/services/"), ...tail])
    const name = keyspace.serviceOf(key)
    if (name === undefined) return
    const range = encoder.encode(keyspace.servicePrefix(name))
    assert.deepEqual(key.subarray(0, range.length), range)
    const id = keyspace.idOf(name, key)
    if (id !== undefined) assert.deepEqual(encoder.encode(keyspace.key(name, id)), key)
  }, 3000)

  test("Keyspace.serviceOf and idOf distinguish keys with and without a valid id", () => {
    const found = (key: string | Uint8Array) => {
      const bytes = typeof key === "string" ? encoder.encode(key) : key
      const name = keyspace.serviceOf(bytes)
      return [name, name === undefined ? undefined : keyspace.idOf(name, bytes)]
    }
    const outside = ["/services", "/services/", "/services/a", "/services//x", "/servicesX/a/b", "services/a/b"]
    for (const key of [...outside, "/services/./b"]) assert.deepEqual(found(key), [undefined, undefined], key)
    for (const key of ["/services/a/", "/services/a/b/c", "/services/a/\u0000", "/services/a/.."]) {
      assert.deepEqual(found(key), ["a", undefined], key)
    }
    assert.deepEqual(found(new Uint8Array([...encoder.encode("/services/a/"), 0xff])), ["a", undefined])
    assert.deepEqual(found("/services/a/\ufeffb"), ["a", "\ufeffb"])
  })

  test("Keyspace.make accepts valid segments, with or without a leading and a trailing slash", () => {
    const made = (namespace: string) =>
      Result.map(Keyspace.make(namespace), ({ key, prefix }) => [prefix, key("a", "b")])
    assert.deepEqual(made("/services"), Result.succeed(["/services/", "/services/a/b"]))
    assert.deepEqual(made("/services/"), Result.succeed(["/services/", "/services/a/b"]))
    assert.deepEqual(made("services"), Result.succeed(["/services/", "/services/a/b"]))
    assert.deepEqual(made("x/y"), Result.succeed(["/x/y/", "/x/y/a/b"]))
    for (const namespace of ["", "/", "//", "a//b", "/a//", "..", "/a/../b", "a\u0000", "\ud800"]) {
      assert.deepEqual(made(namespace), Result.fail(Keyspace.namespaceRule), namespace)
    }
  })
})

describe("endpoint", () => {
  test("endpoint keeps an absolute URL, and turns host:port into tcp://host:port", () => {
    const kept = ["http://10.0.0.5:8080", "https://[::1]:443/path?q#f", "grpc://host", "unix+x://h", "HTTP://H:1"]
    for (const url of kept) assert.deepEqual(endpoint(url), Result.succeed(url))
    for (const address of ["10.0.0.5:8080", "localhost:1", "[::1]:65535", "a-b.c:80", "ünï.example:80"]) {
      assert.deepEqual(endpoint(address), Result.succeed(`tcp://${address}`))
    }
  })

  test("endpoint refuses anything else with the rule", () => {
    const refused = ["", "host", ":80", "host:", "host:0", "host:65536", "host:99999", "a b:80", "http://", "http:///x"]
    for (
      const value of [
        ...refused,
        "//host:80",
        "host:80/path",
        "::1:80",
        "host:-1",
        "host:8e1",
        " host:80",
        "a:80\n",
        "http://a:0",
        "http://a:1\n",
        "http://a:1 ",
        "\thttp://a:1",
        "grpc://a:0"
      ]
    ) {
      assert.deepEqual(endpoint(value), Result.fail(endpointRule), JSON.stringify(value))
    }
  })

  property("endpoint is idempotent and returns a URL with a scheme", text, (value) => {
    const once = endpoint(value)
    if (Result.isFailure(once)) return
    assert.deepEqual(endpoint(once.success), once)
    assert.ok(URL.canParse(once.success))
  }, 2000)

  property("endpoint accepts exactly the ports 1 to 65535", int(-10, 70_000), (port) => {
    assert.equal(Result.isSuccess(endpoint(`host:${port}`)), port >= 1 && port <= 65_535)
  })
})

const checkTtl = (ttl: Duration.Input, heartbeat?: Duration.Input) =>
  checkOptions("test", (check) => Ttl.make(check, ttl, heartbeat))

describe("Ttl", () => {
  property(
    "Ttl.make rounds up to whole seconds, and the heartbeat is a third by default",
    int(1, 10_000_000),
    (millis) => {
      const made = checkTtl(millis)
      const seconds = Math.ceil(millis / 1000)
      if (millis < 2000) return assert.equal(Result.isFailure(made) && made.failure.option, "ttl")
      const { heartbeat, seconds: found } = Result.getOrThrow(made)
      assert.equal(found, seconds)
      assert.ok(Math.abs(Duration.toMillis(heartbeat) - seconds * 1000 / 3) < 0.001)
    }
  )

  property(
    "Ttl.make accepts a heartbeat of 1 ms to half of the time to live",
    Arbitrary.all([int(2, 100), int(-1, 60_000)]),
    ([seconds, millis]) => {
      const made = checkTtl(Duration.seconds(seconds), Duration.millis(millis))
      assert.equal(Result.isSuccess(made), millis > 0 && millis * 2 <= seconds * 1000)
      if (Result.isFailure(made)) assert.equal(made.failure.option, "heartbeat")
    },
    2000
  )

  test("Ttl.make refuses an invalid or infinite duration, and one above etcd's limit", () => {
    for (const ttl of ["nonsense", Infinity, NaN, -5000, 0, 1000, "1 second", "9000000001 seconds"]) {
      const made = checkTtl(ttl as Duration.Input)
      assert.equal(Result.isFailure(made) && made.failure.option, "ttl", String(ttl))
    }
    assert.equal(Result.getOrThrow(checkTtl("9000000000 seconds")).seconds, 9_000_000_000)
  })
})
