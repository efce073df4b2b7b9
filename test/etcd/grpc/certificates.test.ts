import { Effect, Redacted } from "effect"
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import net from "node:net"
import { join } from "node:path"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { type EtcdServer, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { currentRuntime, runProgram } from "../../harness/program.ts"
import { attempt, freePort } from "../../harness/real.ts"
import { type Authority, type Certificate, makeAuthority } from "./certificates.ts"
import { failureOf } from "./support.ts"

const read = (file: string): string => readFileSync(file, "utf8")

const broken = "-----BEGIN CERTIFICATE-----\nbm9pc2U=\n-----END CERTIFICATE-----\n"

interface Material {
  readonly authority: Authority
  readonly good: Certificate
}

const material = Effect.gen(function* () {
  const authority = yield* makeAuthority
  return { authority, good: yield* authority.sign("IP:127.0.0.1,DNS:localhost") }
})

/** A certificate whose key is made by other arguments of `openssl genpkey`. */
const signKey = (authority: Authority, ...genpkey: ReadonlyArray<string>): Effect.Effect<Certificate, Error> =>
  Effect.gen(function* () {
    const { folder, openssl } = authority
    const { cert, key } = yield* authority.sign("IP:127.0.0.1")
    yield* openssl("genpkey", ...genpkey, "-out", "special.key")
    yield* openssl("pkey", "-in", "special.key", "-pubout", "-out", "special.pub")
    yield* openssl("req", "-new", "-key", key, "-subj", "/CN=special", "-out", "special.csr")
    yield* openssl(
      ...["x509", "-req", "-in", "special.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"],
      ...["-force_pubkey", "special.pub", "-out", "special.pem"]
    )
    assert.notEqual(cert, "")
    return { cert: join(folder, "special.pem"), key: join(folder, "special.key") }
  })

interface Refused {
  readonly title: string
  readonly tls: (material: Material) => Effect.Effect<EtcdGrpc.Tls, Error>
  readonly option: string
  readonly rule: RegExp
}

const refused: ReadonlyArray<Refused> = [
  {
    title: "the key of another certificate",
    tls: ({ authority, good }) => Effect.map(authority.sign("IP:127.0.0.1"), ({ key }) => ({ cert: good.cert, key })),
    option: "tls.key",
    rule: /it must be the key of the first certificate in tls\.cert/
  },
  {
    title: "an RSA key of 1024 bits",
    tls: ({ authority }) => signKey(authority, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
    option: "tls.key",
    rule: /an RSA key must have at least 2048 bits, this one has 1024/
  },
  {
    title: "an X25519 key, which cannot sign",
    tls: ({ authority }) => signKey(authority, "-algorithm", "X25519"),
    option: "tls.key",
    rule: /it must be able to sign, which x25519 keys cannot/
  },
  {
    title: "a broken second block of a chain",
    tls: ({ good }) => Effect.succeed({ cert: read(good.cert) + broken, key: good.key }),
    option: "tls.cert",
    rule: /its CERTIFICATE block 2 is invalid/
  },
  {
    title: "a broken second block of an authority file",
    tls: ({ authority }) => Effect.succeed({ ca: read(authority.ca) + broken }),
    option: "tls.ca",
    rule: /its CERTIFICATE block 2 is invalid/
  },
  {
    title: "an authority text without an end",
    tls: ({ authority }) => Effect.succeed({ ca: read(authority.ca).slice(0, 200) }),
    option: "tls.ca",
    rule: /it must have a complete CERTIFICATE block in PEM format/
  },
  {
    title: "a second block of an authority file without an end",
    tls: ({ authority }) => Effect.succeed({ ca: read(authority.ca) + read(authority.ca).slice(0, 200) }),
    option: "tls.ca",
    rule: /one of its CERTIFICATE blocks has no end/
  },
  ...["localhost:2379", "https://localhost", " localhost"].map((serverName): Refused => ({
    title: `the server name ${JSON.stringify(serverName)}`,
    tls: ({ authority }) => Effect.succeed({ ca: authority.ca, serverName }),
    option: "tls.serverName",
    rule: /it must be a name or an IP address/
  })),
  {
    title: "a certificate without a key",
    tls: ({ good }) => Effect.succeed({ cert: good.cert }),
    option: "tls.key",
    rule: /tls\.cert needs its private key, there or in the same text/
  },
  {
    title: "a key without a certificate",
    tls: ({ good }) => Effect.succeed({ key: good.key }),
    option: "tls.cert",
    rule: /tls\.key needs its certificate, there or in the same text/
  },
  {
    title: "an encrypted key without a passphrase",
    tls: ({ authority, good }) => encrypted(authority, good),
    option: "tls.key",
    rule: /it is encrypted; set tls\.passphrase/
  },
  {
    title: "a wrong passphrase",
    tls: ({ authority, good }) =>
      Effect.map(encrypted(authority, good), (tls) => ({ ...tls, passphrase: Redacted.make("wr0ng") })),
    option: "tls.key",
    rule: /tls\.passphrase does not decrypt it/
  }
]

const encrypted = ({ folder, openssl }: Authority, { cert, key }: Certificate) =>
  Effect.as(
    openssl("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", key, "-passout", "pass:hunter2", "-out", "encrypted.key"),
    { cert, key: join(folder, "encrypted.key") }
  )

/** Keeps the first bytes of each connection to a server. */
const recorder = (server: EtcdServer) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: net.Server; readonly hellos: Array<string>; readonly port: number }>(
      (resume) => {
        const hellos: Array<string> = []
        const { port } = new URL(server.endpoint)
        const front = net.createServer((socket) => {
          const upstream = net.connect(Number(port), "127.0.0.1")
          socket.once("data", (bytes) => hellos.push(bytes.toString("latin1")))
          for (const [from, to] of [[socket, upstream], [upstream, socket]] as const) {
            from.on("data", (bytes) => to.write(bytes))
            from.on("close", () => to.destroy())
            from.on("error", () => from.destroy())
          }
        })
        front.listen(0, "127.0.0.1", () => {
          const { port } = front.address() as net.AddressInfo
          resume(Effect.succeed({ server: front, hellos, port }))
        })
      }
    ),
    ({ server }) => Effect.ignore(attempt(() => new Promise<void>((resolve) => server.close(() => resolve()))))
  )

describe("EtcdGrpc certificates", () => {
  for (const { option, rule, title, tls } of refused) {
    live(`EtcdGrpc.make refuses ${title} before any connection`, () =>
      Effect.gen(function* () {
        const options = yield* tls(yield* material)
        const error = yield* Effect.flip(
          Effect.scoped(EtcdGrpc.make({ endpoints: ["https://127.0.0.1:1"], tls: options }))
        )
        assert.ok(error._tag === "InvalidOption")
        assert.equal(error.option, option)
        assert.match(error.rule, rule)
      }))
  }

  live("EtcdGrpc.make never shows a text that may be a key", () =>
    Effect.gen(function* () {
      const { good } = yield* material
      const body = read(good.key).split("\n").slice(1, -2).join("\n")
      for (const key of [body, Redacted.make(body)]) {
        const error = yield* Effect.flip(
          Effect.scoped(EtcdGrpc.make({ endpoints: ["https://a:1"], tls: { cert: good.cert, key } }))
        )
        assert.match(error.message, /tls\.key is "text that is neither PEM nor a path"/)
        assert.ok(!error.message.includes(body.slice(0, 20)))
      }
    }))

  live("EtcdGrpc presents a client certificate from each form of PEM", () =>
    Effect.gen(function* () {
      const { authority, good } = yield* material
      const server = yield* startEtcd({ tls: { ...good, clientCa: authority.ca } })
      const { cert, key } = { cert: read(good.cert), key: read(good.key) }
      const both = join(authority.folder, "both.pem")
      writeFileSync(both, `\uFEFF${key}${cert}`)
      const forms: Record<string, EtcdGrpc.Tls> = {
        "paths": good,
        "texts": { cert, key },
        "one file with a byte order mark": { cert: both },
        "the file of the key": { key: both },
        "texts with escaped line breaks": {
          cert: cert.replaceAll("\n", "\\n"),
          key: Redacted.make(key.replaceAll("\n", "\\n"))
        },
        "texts with escaped Windows line breaks": {
          cert: cert.replaceAll("\n", "\\r\\n"),
          key: key.replaceAll("\n", "\\\\n")
        },
        "one line": { cert: cert.trim().replaceAll("\n", " "), key: key.trim().replaceAll("\n", " ") },
        "indented texts": { cert: cert.replaceAll("\n", "\n    "), key: key.replaceAll("\n", "\n\t") },
        "Windows line breaks": { cert: cert.replaceAll("\n", "\r\n"), key: key.replaceAll("\n", "\r\n") },
        "a key with a passphrase": {
          ...(yield* encrypted(authority, good)),
          passphrase: Redacted.make("hunter2")
        }
      }
      for (const [title, tls] of Object.entries(forms)) {
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], tls: { ca: authority.ca, ...tls } })
        const status = yield* Effect.mapError(etcd.status, (error) => new Error(`${title}: ${error.message}`))
        assert.equal(status.version, server.version, title)
      }
    }))

  live("EtcdGrpc sends no server name for an IP address, and no final dot", () =>
    Effect.gen(function* () {
      const { authority, good } = yield* material
      const { hellos, port } = yield* recorder(yield* startEtcd({ tls: good }))
      const { ca } = authority
      const ask = (tls: EtcdGrpc.Tls) =>
        Effect.scoped(Effect.gen(function* () {
          const etcd = yield* EtcdGrpc.make({ endpoints: [`https://127.0.0.1:${port}`], tls: { ca, ...tls } })
          yield* etcd.status
          return hellos.splice(0)
        }))
      const byAddress = yield* ask({})
      assert.equal(byAddress.length, 2)
      for (const hello of byAddress) assert.ok(!/127\.0\.0\.1|localhost|etcd/.test(hello))
      const byName = yield* ask({ serverName: "localhost." })
      assert.equal(byName.length, 2)
      // The length of the name comes before it.
      for (const hello of byName) assert.ok(hello.includes("\0\x09localhost") && !hello.includes("localhost."))
    }))

  for (const variable of ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NODE_EXTRA_CA_CERTS"]) {
    live(
      `EtcdGrpc without ca trusts the authorities of ${variable} on ${currentRuntime}`,
      () =>
        Effect.gen(function* () {
          const { authority, good } = yield* material
          const server = yield* startEtcd({ tls: good })
          const program = yield* runProgram({
            file: new URL("./permissions.program.ts", import.meta.url),
            args: [server.endpoint],
            env: { GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: "", [variable]: authority.ca }
          })
          assert.deepEqual(yield* program.exit, { code: 0, signal: null }, yield* program.stderr)
        })
    )
  }

  live("an EtcdError advises on certificates only where a connection was made", () =>
    Effect.gen(function* () {
      const { authority, good } = yield* material
      const port = yield* freePort
      const nobody = yield* EtcdGrpc.make({ endpoints: [`https://127.0.0.1:${port}`], tls: { ca: authority.ca } })
      assert.doesNotMatch((yield* Effect.flip(nobody.status)).message, /certificates on both sides/)
      const server = yield* startEtcd({ tls: good })
      const distrusting = yield* EtcdGrpc.make({
        endpoints: [server.endpoint],
        tls: { ca: (yield* makeAuthority).ca }
      })
      const { message } = yield* Effect.flip(distrusting.status)
      assert.match(message, /check the certificates on both sides/)
      assert.doesNotMatch(message, /check that etcd runs/)
    }))

  live("EtcdGrpc names a wrong scheme of an endpoint", () =>
    Effect.gen(function* () {
      const { authority, good } = yield* material
      const secure = yield* startEtcd({ tls: good })
      const plain = yield* startEtcd()
      const http = yield* EtcdGrpc.make({ endpoints: [secure.endpoint.replace("https:", "http:")] })
      assert.match((yield* failureOf(http.status)).detail, /the server uses TLS: write https:\/\/ in endpoints/)
      const https = yield* EtcdGrpc.make({
        endpoints: [plain.endpoint.replace("http:", "https:")],
        tls: { ca: authority.ca }
      })
      assert.match((yield* failureOf(https.status)).detail, /does not seem to use TLS: write http:\/\/ in endpoints/)
    }))
})
