import { Effect } from "effect"
import assert from "node:assert/strict"
import { Auth, Maintenance, Members } from "../../src/admin/mod.ts"
import { makeAuthority } from "../etcd/grpc/certificates.ts"
import { eachEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { connected } from "./support.ts"

describe("admin over TLS", () => {
  eachEtcd((version) => {
    live(
      "admin calls one member with the client's certificates, and refuses an endpoint without TLS",
      () =>
        Effect.gen(function* () {
          const authority = yield* makeAuthority
          const { ca } = authority
          const certificate = yield* authority.sign("IP:127.0.0.1")
          const { endpoint } = yield* startEtcd({ version, tls: { ...certificate, clientCa: ca } })
          yield* Effect.gen(function* () {
            const [member] = yield* Members.list
            assert.deepEqual(member?.clientUrls, [endpoint])
            assert.equal((yield* Maintenance.status(endpoint)).version, version)
            yield* Maintenance.status(endpoint.replace("https://", ""))
            yield* Maintenance.defragment(endpoint)
            assert.deepEqual(yield* Auth.userList, [])
            const refused = yield* Effect.flip(Maintenance.status(endpoint.replace("https:", "http:")))
            assert.equal(refused._tag, "InvalidOption")
          }).pipe(connected({ endpoints: [endpoint], tls: { ...certificate, ca } }))
        })
    )
  })
})
