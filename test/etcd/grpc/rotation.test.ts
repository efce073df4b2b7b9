import { Effect, Logger, Redacted, Ref } from "effect"
import assert from "node:assert/strict"
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { etcdctl, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { type Authority, makeAuthority } from "./certificates.ts"
import { failureOf } from "./support.ts"

/** Writes the files of one authority to the places that server and client read. */
const install = (authority: Authority, folder: string) =>
  Effect.gen(function* () {
    const { cert, key } = yield* authority.sign("IP:127.0.0.1")
    copyFileSync(authority.ca, join(folder, "ca.pem"))
    copyFileSync(cert, join(folder, "cert.pem"))
    copyFileSync(key, join(folder, "key.pem"))
    return { cert: join(folder, "cert.pem"), key: join(folder, "key.pem"), ca: join(folder, "ca.pem") }
  })

const recordLogs = (lines: Array<string>) =>
  Effect.provide(Logger.layer([Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${message}`))]))

describe("EtcdGrpc rotation", () => {
  live(
    "a client follows a rotation of authority, certificate and key without a restart",
    () =>
      Effect.gen(function* () {
        const first = yield* makeAuthority
        const folder = join(first.folder, "live")
        mkdirSync(folder)
        const { ca, cert, key } = yield* install(first, folder)
        const server = yield* startEtcd({ tls: { cert, key, clientCa: ca } })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], tls: { ca, cert, key } })
        yield* etcd.put({ key: "a", value: "1" })
        for (const round of ["2", "3"]) {
          yield* server.stop
          yield* install(yield* makeAuthority, folder)
          yield* server.start
          yield* eventually(etcd.put({ key: "a", value: round }))
        }
      })
  )

  live("a client keeps the last good certificates while the files are broken, and warns once", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const authority = yield* makeAuthority
      const folder = join(authority.folder, "live")
      mkdirSync(folder)
      const { ca, cert, key } = yield* install(authority, folder)
      // The server reads its files again, too.
      const server = yield* startEtcd({ tls: { ...(yield* authority.sign("IP:127.0.0.1")), clientCa: ca } })
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], tls: { ca, cert, key } })
      yield* etcd.put({ key: "a", value: "1" })
      const good = readFileSync(cert, "utf8")
      writeFileSync(cert, good.slice(0, 100))
      for (const value of ["2", "3"]) {
        yield* server.stop
        yield* server.start
        yield* eventually(etcd.put({ key: "a", value }))
      }
      assert.equal(lines.length, 1)
      assert.match(lines[0] ?? "", /^Warn the last good certificates stay in use: .*tls\.cert is ".*cert\.pem"/)
    }).pipe(recordLogs(lines))
  })

  live("a client reads the password at each authentication, and warns when etcd refuses it", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const server = yield* startEtcd()
      const run = (...commands: ReadonlyArray<string>) =>
        Effect.forEach(commands, (command) => etcdctl(server, ...command.split(" ")))
      yield* run("user add root:root", "user grant-role root root", "user add app:one", "user grant-role app root")
      yield* run("auth enable")
      const password = yield* Ref.make(Redacted.make("one"))
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], username: "app", password: Ref.get(password) })
      yield* etcd.put({ key: "a", value: "1" })
      // etcd drops the tokens of a deleted user.
      yield* run(
        ...["user delete app", "user add app:two", "user grant-role app root"].map((c) => `--user=root:root ${c}`)
      )
      for (let attempt = 0; attempt < 5; attempt++) {
        assert.equal((yield* failureOf(etcd.put({ key: "a", value: "2" }))).reason, "Unauthenticated")
      }
      assert.deepEqual(lines, [
        `Warn etcd at ${server.endpoint} refuses the user name or password of "app": ` +
        "etcdserver: authentication failed, invalid user ID or password"
      ])
      yield* Ref.set(password, Redacted.make("two"))
      yield* etcd.put({ key: "a", value: "3" })
    }).pipe(recordLogs(lines))
  })
})
