import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import net from "node:net"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { discover, registerService, Registry } from "../../../mod.ts"
import { type EtcdOptions, type EtcdServer, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { attempt } from "../../harness/real.ts"
import { ids, quiet, recorded } from "../../registry/registration/support.ts"
import { type Authority, type Certificate, makeAuthority } from "./certificates.ts"

interface Certificates {
  readonly authority: Authority
  readonly stranger: Authority
  readonly good: Certificate
}

const makeCertificates: Effect.Effect<Certificates, Error, Scope.Scope> = Effect.gen(function* () {
  const authority = yield* makeAuthority
  return { authority, stranger: yield* makeAuthority, good: yield* authority.sign("IP:127.0.0.1") }
})

type Tls = NonNullable<EtcdOptions["tls"]>

interface Case {
  readonly title: string
  readonly server?: (certificates: Certificates) => Effect.Effect<Tls, Error>
  readonly client: (certificates: Certificates) => Effect.Effect<EtcdGrpc.Tls, Error>
  /** The pattern of the error, whose wording depends on the runtime. */
  readonly says: RegExp
}

const trusting = ({ authority: { ca } }: Certificates) => Effect.succeed({ ca })
const trusted = ({ good }: Certificates) => Effect.succeed(good)
const mutual = ({ authority: { ca }, good }: Certificates) => Effect.succeed({ ...good, clientCa: ca })

const refused: ReadonlyArray<Case> = [
  {
    title: "a server certificate that has expired",
    server: ({ authority }) => authority.sign("IP:127.0.0.1", -1),
    client: trusting,
    says: /certificate has expired/i
  },
  {
    title: "a server certificate for another name",
    server: ({ authority }) => authority.sign("IP:127.0.0.2,DNS:other.test"),
    client: trusting,
    says: /127\.0\.0\.1 is not in the cert's list: .*127\.0\.0\.2/i
  },
  {
    title: "a server certificate for another name than serverName",
    client: ({ authority: { ca } }) => Effect.succeed({ ca, serverName: "etcd.test" }),
    says: /etcd\.test/
  },
  {
    title: "a server certificate of an unknown authority",
    client: ({ stranger: { ca } }) => Effect.succeed({ ca }),
    says: /unable to verify|unknown ?issuer|self.signed/i
  },
  {
    title: "a server certificate that the runtime's own authorities have not signed",
    client: () => Effect.succeed({}),
    says: /unable to verify|unknown ?issuer|self.signed/i
  },
  {
    title: "a missing client certificate",
    server: mutual,
    client: trusting,
    says: /certificate[ _]?required/i
  },
  {
    title: "a client certificate of an unknown authority",
    server: mutual,
    client: ({ authority: { ca }, stranger }) =>
      Effect.map(stranger.sign("IP:127.0.0.1"), (certificate) => ({ ca, ...certificate })),
    says: /unknown[ _]?ca/i
  },
  {
    title: "a client certificate that has expired",
    server: mutual,
    client: ({ authority }) =>
      Effect.map(authority.sign("IP:127.0.0.1", -1), (certificate) => ({ ca: authority.ca, ...certificate })),
    says: /certificate[ _]?expired/i
  }
]

/** A listener that records the first bytes of each connection and closes it. */
const listen = Effect.acquireRelease(
  Effect.callback<{ readonly server: net.Server; readonly first: Array<Uint8Array> }>((resume) => {
    const first: Array<Uint8Array> = []
    const server = net.createServer((socket) => {
      socket.on("error", () => socket.destroy())
      socket.once("data", (bytes) => {
        first.push(bytes)
        socket.destroy()
      })
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, first })))
  }),
  ({ server }) => Effect.ignore(attempt(() => new Promise<void>((resolve) => server.close(() => resolve()))))
)

describe("EtcdGrpc with tls", () => {
  live("EtcdGrpc with certificates on both sides registers and discovers", () =>
    Effect.gen(function* () {
      const { authority: { ca }, good } = yield* makeCertificates
      const server = yield* startEtcd({ tls: { ...good, clientCa: ca } })
      yield* Effect.gen(function* () {
        yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.1:80"] })
        const sets = yield* recorded(discover("orders"))
        assert.deepEqual(ids(yield* sets.until(() => true)), ["a"])
      }).pipe(Effect.provide(Registry.layerEtcd({ endpoints: [server.endpoint], tls: { ca, ...good } })))
    }))

  for (const { client, says, server = trusted, title } of refused) {
    live(
      `EtcdGrpc fails with a clear EtcdError and never falls back to plain text: ${title}`,
      () =>
        Effect.gen(function* () {
          const certificates = yield* makeCertificates
          const etcd: EtcdServer = yield* startEtcd({ tls: yield* server(certificates) })
          const tls = yield* client(certificates)
          const connected = yield* EtcdGrpc.make({ endpoints: [etcd.endpoint], tls, dialTimeout: "30 seconds" })
          const error = yield* Effect.flip(connected.put({ key: "a", value: "1" }))
          assert.deepEqual([error._tag, error.method, error.key, error.endpoint, error.reason._tag], [
            "EtcdError",
            "put",
            "a",
            etcd.endpoint,
            "Unavailable"
          ])
          assert.match(error.reason.detail, says)
          assert.match(error.message, /^[^\n]*tls[^\n]*$/, "one line, which names the options to look at")
        })
    )
  }

  live("EtcdGrpc with tls sends only TLS, whatever the server answers", () =>
    Effect.gen(function* () {
      const { authority: { ca } } = yield* makeCertificates
      const { first, server } = yield* listen
      const { port } = server.address() as net.AddressInfo
      const etcd = yield* EtcdGrpc.make({ endpoints: [`127.0.0.1:${port}`], tls: { ca } })
      assert.equal((yield* Effect.flip(etcd.status)).reason._tag, "Unavailable")
      assert.equal((yield* Effect.flip(etcd.leaseKeepAlive({ id: 1n }))).reason._tag, "Unavailable")
      assert.ok(first.length > 0)
      // 22 is a handshake record (RFC 8446, 5.1); HTTP/2 without TLS would begin with "PRI".
      assert.deepEqual(new Set(first.map((bytes) => bytes[0])), new Set([22]))
    }))

  live(
    "registerService fails after startupTimeout with the certificate's problem as the cause",
    () =>
      Effect.gen(function* () {
        const { good, stranger } = yield* makeCertificates
        const server = yield* startEtcd({ tls: good })
        const error = yield* Effect.flip(
          registerService("orders", { endpoints: ["http://10.0.0.1:80"], startupTimeout: "3 seconds" })
        ).pipe(Effect.provide([Registry.layerEtcd({ endpoints: [server.endpoint], tls: { ca: stranger.ca } }), quiet]))
        assert.equal(error._tag, "StartupTimeout")
        assert.match(error.message, /unable to verify|unknown ?issuer|self.signed/i)
      })
  )
})
