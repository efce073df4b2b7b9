/**
 * The operator of etcd: reads and writes directly, past every proxy, without any code of the library. It uses etcd's
 * own HTTP gateway (`/v3/…`, JSON), so it is also the source of the truth.
 *
 * @module
 */
import { Effect } from "effect"
import http from "node:http"
import { toError } from "../harness/real.ts"

/** A key in etcd. */
export interface Found {
  readonly key: string
  readonly value: string
  readonly lease: bigint
  readonly revision: bigint
}

/** One event of a watch. Without a value, the key was deleted. */
export interface Watched {
  readonly revision: bigint
  readonly key: string
  readonly value: string | undefined
  readonly lease: bigint
}

export interface Operator {
  /** All keys under a prefix (a linearizable read, or at a revision), and the current revision. */
  readonly read: (
    prefix: string,
    at?: bigint
  ) => Effect.Effect<{ readonly revision: bigint; readonly found: ReadonlyArray<Found> }, Error>
  /** These return the revision. */
  readonly put: (key: string, value: string, lease?: bigint) => Effect.Effect<bigint, Error>
  readonly remove: (key: string) => Effect.Effect<bigint, Error>
  /** Deletes and puts keys at one revision. */
  readonly write: (
    puts: ReadonlyArray<readonly [key: string, value: string, lease: bigint]>,
    removes?: ReadonlyArray<string>
  ) => Effect.Effect<bigint, Error>
  /** Grants a lease; etcd chooses its id if none is given. */
  readonly grant: (seconds: number, id?: bigint) => Effect.Effect<bigint, Error>
  readonly revoke: (lease: bigint) => Effect.Effect<void, Error>
  readonly leases: Effect.Effect<ReadonlyArray<bigint>, Error>
  readonly compact: (revision: bigint) => Effect.Effect<void, Error>
  readonly defragment: Effect.Effect<void, Error>
  readonly disarm: Effect.Effect<void, Error>
  readonly memberId: Effect.Effect<bigint, Error>
  readonly clusterId: Effect.Effect<bigint, Error>
  /** Sent to the leader. */
  readonly moveLeader: (to: bigint) => Effect.Effect<void, Error>
  /** Enables authentication, with a user `app` that may read and write below a prefix. The operator becomes `root`. */
  readonly protect: (prefix: string) => Effect.Effect<void, Error>
  /** Disables authentication. */
  readonly unprotect: Effect.Effect<void, Error>
  /** How often the operator has authenticated. */
  readonly logins: Effect.Effect<number>
  /** Sets the password of `app`. */
  readonly setPassword: (password: string) => Effect.Effect<void, Error>
  /** Revokes the role of `app`, or grants it again. */
  readonly permit: (allowed: boolean) => Effect.Effect<void, Error>
  /** Watches all keys from a revision on. Returns a function that stops it. */
  readonly watch: (
    from: bigint,
    listener: { readonly events: (events: ReadonlyArray<Watched>) => void; readonly end: (reason: string) => void }
  ) => () => void
}

interface Header {
  readonly header?: { readonly revision?: string; readonly member_id?: string; readonly cluster_id?: string }
}
interface Kv {
  readonly key: string
  readonly value?: string
  readonly lease?: string
  readonly mod_revision: string
}

const toBase64 = (text: string): string => Buffer.from(text).toString("base64")
const fromBase64 = (text: string): string => Buffer.from(text, "base64").toString()

/** The end of a prefix range. */
const after = (prefix: string): string => {
  const bytes = Buffer.from(prefix)
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) + 1
  return bytes.toString("base64")
}
const everything = { key: "AA==", range_end: "AA==" }

const revisionOf = ({ header }: Header): bigint => BigInt(header?.revision ?? 0)

/** The initial password of the user `app`. */
export const appPassword = "s3cret"

/** Makes an operator that uses the member that `endpoint` currently returns. */
export const makeOperator = (endpoint: () => string): Operator => {
  let token: string | undefined
  let logins = 0

  const request = (path: string, body: object, onResponse: (response: http.IncomingMessage) => void) => {
    const { hostname, port } = new URL(endpoint())
    const sent = http.request({
      agent: false,
      method: "POST",
      hostname,
      port,
      path: `/v3/${path}`,
      headers: { "content-type": "application/json", ...(token === undefined ? {} : { authorization: token }) }
    }, onResponse)
    sent.end(JSON.stringify(body))
    return sent
  }

  const once = <Answer>(path: string, body: object = {}): Effect.Effect<Answer, Error> =>
    Effect.callback((resume) => {
      const sent = request(path, body, (response) => {
        const chunks: Array<Uint8Array> = []
        response.on("data", (chunk: Uint8Array) => chunks.push(chunk))
        response.on("error", (error) => resume(Effect.fail(toError(error))))
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString()
          resume(
            response.statusCode === 200 ?
              Effect.sync((): Answer => JSON.parse(text)) :
              Effect.fail(new Error(`${path}: ${text}`))
          )
        })
      })
      sent.setTimeout(20_000, () => sent.destroy(new Error(`${path}: no answer within 20 s`)))
      sent.on("error", (error) => resume(Effect.fail(toError(error))))
      return Effect.sync(() => {
        sent.destroy()
      })
    })
  const login = Effect.suspend(() => {
    token = undefined
    logins++
    return Effect.map(
      once<{ readonly token: string }>("auth/authenticate", { name: "root", password: "root" }),
      (answer) => {
        token = answer.token
      }
    )
  })
  const call = <Answer>(path: string, body: object = {}): Effect.Effect<Answer, Error> =>
    Effect.catchIf(
      once<Answer>(path, body),
      ({ message }) => token !== undefined && message.includes("invalid auth token"),
      () => Effect.andThen(login, once<Answer>(path, body))
    )
  const write = (path: string, body: object = {}) => Effect.map(call<Header>(path, body), revisionOf)
  const done = (path: string, body: object = {}) => Effect.asVoid(call(path, body))

  const memberId = Effect.map(
    Effect.suspend(() => call<Header>("maintenance/status")),
    ({ header }) => BigInt(header?.member_id ?? 0)
  )

  return {
    read: (prefix, at = 0n) =>
      Effect.map(
        call<Header & { readonly kvs?: ReadonlyArray<Kv> }>("kv/range", {
          key: toBase64(prefix),
          range_end: after(prefix),
          revision: String(at)
        }),
        (answer) => ({
          revision: revisionOf(answer),
          found: (answer.kvs ?? []).map(({ key, lease = "0", mod_revision, value = "" }) => ({
            key: fromBase64(key),
            value: fromBase64(value),
            lease: BigInt(lease),
            revision: BigInt(mod_revision)
          }))
        })
      ),
    put: (key, value, lease = 0n) =>
      write("kv/put", { key: toBase64(key), value: toBase64(value), lease: String(lease) }),
    remove: (key) => write("kv/deleterange", { key: toBase64(key) }),
    write: (puts, removes = []) =>
      write("kv/txn", {
        success: [
          ...puts.map(([key, value, lease]) => ({
            requestPut: { key: toBase64(key), value: toBase64(value), lease: String(lease) }
          })),
          ...removes.map((key) => ({ requestDeleteRange: { key: toBase64(key) } }))
        ]
      }),
    grant: (seconds, id = 0n) =>
      Effect.map(
        call<{ readonly ID: string }>("lease/grant", { TTL: String(seconds), ID: String(id) }),
        ({ ID }) => BigInt(ID)
      ),
    revoke: (lease) => done("lease/revoke", { ID: String(lease) }),
    leases: Effect.map(
      Effect.suspend(() => call<{ readonly leases?: ReadonlyArray<{ readonly ID: string }> }>("lease/leases")),
      ({ leases = [] }) => leases.map(({ ID }) => BigInt(ID))
    ),
    compact: (revision) => done("kv/compaction", { revision: String(revision) }),
    defragment: done("maintenance/defragment"),
    disarm: Effect.flatMap(
      memberId,
      (member) => done("maintenance/alarm", { action: "DEACTIVATE", alarm: "NOSPACE", memberID: String(member) })
    ),
    memberId,
    clusterId: Effect.map(
      Effect.suspend(() => call<Header>("maintenance/status")),
      ({ header }) => BigInt(header?.cluster_id ?? 0)
    ),
    moveLeader: (to) => done("maintenance/transfer-leadership", { targetID: String(to) }),
    protect: (prefix) =>
      Effect.gen(function* () {
        yield* done("auth/user/add", { name: "root", password: "root" })
        yield* done("auth/role/add", { name: "root" })
        yield* done("auth/user/grant", { user: "root", role: "root" })
        yield* done("auth/role/add", { name: "app" })
        yield* done("auth/role/grant", {
          name: "app",
          perm: { permType: "READWRITE", key: toBase64(prefix), range_end: after(prefix) }
        })
        yield* done("auth/user/add", { name: "app", password: appPassword })
        yield* done("auth/user/grant", { user: "app", role: "app" })
        yield* done("auth/enable")
        yield* login
      }),
    unprotect: Effect.andThen(
      done("auth/disable"),
      Effect.sync(() => {
        token = undefined
      })
    ),
    logins: Effect.sync(() => logins),
    setPassword: (password) => done("auth/user/changepw", { name: "app", password }),
    permit: (allowed) =>
      allowed ?
        done("auth/user/grant", { user: "app", role: "app" }) :
        done("auth/user/revoke", { name: "app", role: "app" }),
    watch: (from, { end, events }) => {
      let rest = ""
      const take = (line: string) => {
        const message: {
          readonly error?: unknown
          readonly result?: {
            readonly canceled?: boolean
            readonly events?: ReadonlyArray<{ readonly type?: string; readonly kv: Kv }>
          }
        } = JSON.parse(line)
        if (message.error !== undefined || message.result?.canceled === true) {
          end(line)
          return sent.destroy()
        }
        events((message.result?.events ?? []).map(({ kv: { key, lease = "0", mod_revision, value = "" }, type }) => ({
          key: fromBase64(key),
          value: type === "DELETE" ? undefined : fromBase64(value),
          lease: BigInt(lease),
          revision: BigInt(mod_revision)
        })))
      }
      const sent = request("watch", { create_request: { ...everything, start_revision: String(from) } }, (response) => {
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => {
          const lines = (rest + chunk).split("\n")
          rest = lines.pop() ?? ""
          for (const line of lines) if (line !== "") take(line)
        })
        response.on("error", () => {})
        response.on("close", () => end("closed"))
      })
      sent.on("error", (error) => end(error.message))
      return () => {
        sent.destroy()
      }
    }
  }
}
