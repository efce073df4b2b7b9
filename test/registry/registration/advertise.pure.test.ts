import { Result } from "effect"
import assert from "node:assert/strict"
import { networkInterfaces } from "node:os"
import process from "node:process"
import { describe, it } from "node:test"
import * as Keyspace from "../../../src/registry/model/Keyspace.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { plan, type RegisterOptions } from "../../../src/registry/registration/RegisterOptions.ts"

const keyspace = Result.getOrThrow(Keyspace.make("/services"))

/** The endpoint that is registered for the given one, or the rule that it breaks. */
const registered = (endpoint: string, options: Omit<RegisterOptions, "endpoints"> = {}) =>
  Result.match(plan(keyspace, Service.make("orders"), { ...options, endpoints: [endpoint] }), {
    onSuccess: ({ instance }) => instance.endpoints[0],
    onFailure: ({ option, rule }) => `${option}: ${rule}`
  })

const withVariables = (variables: Readonly<Record<string, string>>, body: () => void): void => {
  const names = ["ADVERTISE_ADDRESS", "POD_IP"]
  const before = names.map((name) => [name, process.env[name]] as const)
  for (const name of names) delete process.env[name]
  Object.assign(process.env, variables)
  try {
    body()
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

describe("advertise", () => {
  const advertise = "10.0.0.5"
  for (
    const [given, expected] of [
      ["http://0.0.0.0:8080/a", "http://10.0.0.5:8080/a"],
      ["grpc://[::]:9000", "grpc://10.0.0.5:9000"],
      ["http://0:8080", "http://10.0.0.5:8080"],
      ["http://:8080", "http://10.0.0.5:8080"],
      [":8080", "tcp://10.0.0.5:8080"],
      ["0.0.0.0:8080", "tcp://10.0.0.5:8080"],
      ["http://10.0.0.0:80", "http://10.0.0.0:80"],
      ["http://[::1]:80", "http://[::1]:80"]
    ] as const
  ) {
    it(`registerService registers ${expected} for ${given}`, () =>
      assert.equal(registered(given, { advertise }), expected))
  }

  it("registerService refuses port 0 of a wildcard host", () => {
    for (const endpoint of ["http://0.0.0.0:0", ":0", "[::]:0"]) {
      assert.match(registered(endpoint, { advertise }) ?? "", /^endpoints\[0\]: it must be .* a port of 1 to 65535$/)
    }
  })

  it("registerService prefers the option, then ADVERTISE_ADDRESS, then POD_IP", () => {
    withVariables({ ADVERTISE_ADDRESS: "host-1.example", POD_IP: "fd00::1" }, () => {
      assert.equal(registered("http://0.0.0.0:80", { advertise: "fd00::2" }), "http://[fd00::2]:80")
      assert.equal(registered("http://0.0.0.0:80"), "http://host-1.example:80")
    })
    withVariables({ ADVERTISE_ADDRESS: "", POD_IP: "fd00::1" }, () => {
      assert.equal(registered("http://0.0.0.0:80"), "http://[fd00::1]:80")
    })
  })

  it("registerService names the variable that is no address", () => {
    withVariables({ POD_IP: "10.0.0.5:80" }, () => {
      assert.equal(
        registered("http://0.0.0.0:80"),
        "endpoints[0]: POD_IP must be a host name or an IP address, without a port"
      )
      assert.equal(registered("http://h:80"), "http://h:80")
    })
  })

  it("registerService takes the first address that is not loopback without option and variables", () => {
    withVariables({}, () => {
      const others = Object.values(networkInterfaces()).flatMap((all = []) => all).filter(({ internal }) => !internal)
      const found = registered("http://0.0.0.0:80") ?? ""
      if (others.length === 0) return assert.match(found, /no address but loopback; set ADVERTISE_ADDRESS$/)
      assert.ok(
        others.some(({ address }) => found === `http://${address}:80` || found === `http://[${address}]:80`),
        found
      )
    })
  })
})
