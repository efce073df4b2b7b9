/**
 * Small helpers for the tests of `EtcdGrpc`.
 *
 * @module
 */
import { Effect, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import type { WatchRequest, WatchResponse } from "../../../src/etcd/messages/watch.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import type { InvalidOption } from "../../../src/internal/options.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"

const decoder = new TextDecoder()

export const text = (bytes: Uint8Array): string => decoder.decode(bytes)

/** The responses of a watch so far. */
export interface Watching {
  readonly responses: ReadonlyArray<WatchResponse>
  readonly error: EtcdError | undefined
  /** Waits for a response that satisfies the predicate. */
  readonly until: (predicate: (response: WatchResponse) => boolean) => Effect.Effect<WatchResponse, Error>
  /** Waits until the watch has failed. */
  readonly failure: Effect.Effect<EtcdError, Error>
  readonly created: Effect.Effect<WatchResponse, Error>
  /** Key and value of each event so far, `null` for a deletion. */
  readonly events: ReadonlyArray<readonly [key: string, value: string | null]>
}

/** Watches for the lifetime of the scope. */
export const watching = (etcd: Etcd, request: WatchRequest): Effect.Effect<Watching, never, Scope.Scope> =>
  Effect.gen(function* () {
    const responses: Array<WatchResponse> = []
    let error: EtcdError | undefined
    yield* etcd.watch(request).pipe(
      Stream.runForEach((response) => Effect.sync(() => responses.push(response))),
      Effect.catch((failure) =>
        Effect.sync(() => {
          error = failure
        })
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    const until: Watching["until"] = (predicate) =>
      eventually(
        Effect.suspend(() => {
          const found = responses.find(predicate)
          return found === undefined ? Effect.fail(`${error ?? "nothing"}`) : Effect.succeed(found)
        })
      )
    return {
      responses,
      get error() {
        return error
      },
      until,
      failure: eventually(
        Effect.suspend(() => error === undefined ? Effect.fail("no failure") : Effect.succeed(error))
      ),
      created: until(({ _tag }) => _tag === "Created"),
      get events() {
        return responses.flatMap((response) => response._tag === "Events" ? response.events : [])
          .map(({ kv, type }) => [text(kv.key), type === "put" ? text(kv.value) : null] as const)
      }
    }
  })

/** Watches again until the watch is created, as a caller does whose watch has failed. */
export const resumed = (etcd: Etcd, request: WatchRequest): Effect.Effect<Watching, Error, Scope.Scope> =>
  Effect.gen(function* () {
    while (true) {
      const watch = yield* watching(etcd, request)
      yield* Effect.raceFirst(watch.created, watch.failure)
      if (watch.error === undefined) return watch
      assert.ok(watch.error.retryable, watch.error.message)
      yield* Effect.sleep("50 millis")
    }
  })

/**
 * A client of two endpoints that is connected to the first one.
 *
 * **Details**
 *
 * A client tries its first endpoint first, but takes the second one if that answers sooner. So the second one refuses
 * connections until the client is connected.
 */
export const connectedToFirst = (
  first: { readonly endpoint: string },
  second: { readonly endpoint: string },
  options: Omit<EtcdGrpc.Options, "endpoints"> = {}
): Effect.Effect<Etcd, Error | EtcdError | InvalidOption, Scope.Scope> =>
  Effect.gen(function* () {
    const front = yield* makeProxy(second)
    yield* front.refuse
    const etcd = yield* EtcdGrpc.make({ ...options, endpoints: [first.endpoint, front.endpoint] })
    yield* etcd.status
    yield* front.accept
    return etcd
  })

/** Milliseconds of an effect. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - start] as const)
  })

/** The tag, the text and the place of a failure. An invalid option is a defect of the test. */
export const failureOf = <A, R>(effect: Effect.Effect<A, EtcdError | InvalidOption, R>): Effect.Effect<
  {
    readonly reason: string
    readonly detail: string
    readonly method: string
    readonly key: string | undefined
    readonly endpoint: string | undefined
  },
  A,
  R
> =>
  Effect.map(
    Effect.flip(Effect.catchTag(effect, "InvalidOption", Effect.die)),
    ({ endpoint, key, method, reason }) => ({
      reason: reason._tag,
      detail: reason.detail,
      method,
      key,
      endpoint
    })
  )

export interface Certificates {
  readonly folder: string
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** An authority and a certificate it has signed, for subject alternative names such as `IP:127.0.0.1`, made on the spot. */
export const certificates = (names: string): Effect.Effect<Certificates, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const folder = mkdtempSync(join(tmpdir(), "etcd-tls-"))
        const openssl = (...args: ReadonlyArray<string>) =>
          execFileSync("openssl", args, { cwd: folder, stdio: "pipe" })
        const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        writeFileSync(join(folder, "san"), `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`)
        openssl("req", "-x509", ...curve, "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA")
        openssl("req", ...curve, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=etcd")
        const sign = ["x509", "-req", "-in", "request", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(...sign, "-days", "2", "-out", "cert.pem", "-extfile", "san")
        return { folder, ca: join(folder, "ca.crt"), cert: join(folder, "cert.pem"), key: join(folder, "key.pem") }
      },
      catch: (error) => error instanceof Error ? error : new Error(String(error))
    }),
    ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

/** The environment variables that grpc-js reads when it is loaded. The production guide lists them. */
export const grpcVariables: ReadonlyArray<string> = [
  "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
  "GRPC_EXPERIMENTAL_ENABLE_OUTLIER_DETECTION",
  "GRPC_NODE_DEBUG_SEND_ERROR_DETAILS",
  "GRPC_NODE_TRACE",
  "GRPC_NODE_USE_ALTERNATIVE_RESOLVER",
  "GRPC_NODE_VERBOSITY",
  "GRPC_SSL_CIPHER_SUITES",
  "GRPC_TRACE",
  "GRPC_VERBOSITY"
]
