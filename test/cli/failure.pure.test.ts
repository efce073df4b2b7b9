import { Duration, Effect } from "effect"
import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { describe, it } from "node:test"
import { fileURLToPath } from "node:url"
import { CommandFailed, defectOf, endingOf, exitCodes, ExitWith } from "../../src/cli/failure.ts"
import { version } from "../../src/cli/version.ts"
import * as EtcdError from "../../src/etcd/EtcdError.ts"
import { DiscoveryRefused, InvalidOption, StartupTimeout } from "../../mod.ts"
import { live } from "../harness/it.ts"
import { memory, ran } from "./support.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))

const etcd = (reason: EtcdError.EtcdErrorReason) =>
  new EtcdError.EtcdError({ reason, method: "range", key: "/services/a/", endpoint: "http://a:1" })

describe("endingOf (command line)", () => {
  it("endingOf maps every kind of failure to its exit code and to one sentence with a remedy", () => {
    const detail = "d"
    const cases: ReadonlyArray<readonly [unknown, number, RegExp]> = [
      [
        etcd(new EtcdError.Unavailable({ detail })),
        exitCodes.unreachable,
        /^cannot reach etcd at http:\/\/a:1: d\. Check/
      ],
      [etcd(new EtcdError.DeadlineExceeded({ detail })), exitCodes.unreachable, /Check that etcd runs there/],
      [etcd(new EtcdError.Unauthenticated({ detail })), exitCodes.denied, /Check --user and --password-file/],
      [
        etcd(new EtcdError.PermissionDenied({ detail })),
        exitCodes.denied,
        /^etcd does not permit range on "\/services\/a\/"/
      ],
      [etcd(new EtcdError.NoSpace({ detail })), exitCodes.failed, /disarm the NOSPACE alarm$/],
      [
        new DiscoveryRefused({ prefix: "/services/a/", cause: etcd(new EtcdError.Unavailable({ detail })) }),
        exitCodes.unreachable,
        /^cannot reach etcd/
      ],
      [
        new InvalidOption({ of: "f", option: "ttl", value: 1, rule: "it must be 2" }),
        exitCodes.usage,
        /^ttl is 1; it must be 2$/
      ],
      [new StartupTimeout({ key: "/k", after: Duration.seconds(15) }), exitCodes.unreachable, /check that etcd runs/],
      [new CommandFailed({ message: "m", exitCode: 9 }), 9, /^m$/],
      [new ExitWith({ exitCode: 143 }), 143, /^$/]
    ]
    for (const [error, exitCode, message] of cases) {
      const ending = endingOf(error)
      assert.equal(ending.exitCode, exitCode, ending.message)
      assert.match(ending.message, message)
    }
  })

  it("defectOf requests a newer Node below version 22.19", () => {
    const missing = new SyntaxError("The requested module 'node:tls' does not provide an export")
    for (const version of ["20.19.4", "22.18.0"]) {
      const { exitCode, message } = defectOf(missing, version)
      assert.equal(exitCode, 1)
      assert.match(message, new RegExp(`^Node ${version} is too old; etcd-discovery needs Node 22\\.19 or newer\\.`))
    }
    assert.match(defectOf(missing, "22.19.0").message, /^internal error: /)
  })

  it("defectOf returns one sentence without a stack, and exit code 70", () => {
    const { exitCode, message } = defectOf(new Error("boom"))
    assert.equal(exitCode, 70)
    assert.equal(message, "internal error: boom. This is a defect of etcd-discovery; please report it.")
  })

  live("a defect in a command prints one sentence and exits with 70", () =>
    Effect.gen(function* () {
      const { connect } = yield* memory
      const { exitCode, stderr } = yield* ran(["services"], {
        connect: (flags) => {
          if (flags.memory === false) throw new Error("boom")
          return connect(flags)
        }
      })
      assert.deepEqual([exitCode, stderr], [
        70,
        "etcd-discovery: internal error: boom. This is a defect of etcd-discovery; please report it.\n"
      ])
    }))
})

describe("etcd-discovery", () => {
  it("the version of the command line is that of the package", () => {
    const { version: expected } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    assert.equal(version, expected)
  })

  it("the command line starts without the registry, the clients and gRPC", () => {
    const seen = new Set<string>()
    const visit = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      const source = readFileSync(file, "utf8")
      for (const [, names = "", from = ""] of source.matchAll(/^(?:import|export)\b([^;"]*?)from "(\.[^"]+)"/gm)) {
        const target = join(dirname(file), from)
        if (!/^\s+type\b/.test(names) && existsSync(target)) visit(target)
      }
    }
    visit(join(root, "src/cli/main.ts"))
    const heavy = Array.from(seen, (file) => relative(root, file)).filter((file) =>
      !/^src\/(?:cli|internal)\//.test(file)
    )
    assert.deepEqual(heavy, [])
    assert.ok(!seen.has(join(root, "src/cli/library.ts")))
  })
})
