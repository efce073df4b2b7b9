/**
 * The {@link Etcd} contract over gRPC: the client of etcd servers, 3.4 and later.
 *
 * **Details**
 *
 * - Making a client needs no etcd: the first operation connects. `@grpc/grpc-js` is loaded when the first client is
 *   made.
 * - A client uses one endpoint at a time. If a call fails there or gets no response, the client moves to the next
 *   endpoint for all later calls. It never repeats a call.
 * - All heartbeats share one stream, all watches share another. Both stay open until the client's scope closes. A broken
 *   stream is opened again when it is needed.
 * - If a stream gets no response in time, the client gives up the whole connection. Pending heartbeats and watches fail
 *   and can be started again at once.
 * - The first operation authenticates. The client renews a token that the server no longer accepts.
 * - Connections are direct: HTTP proxies in the environment are ignored.
 * - Timeouts of connections and streams run on Effect's `Clock`. The deadline of a single request runs on real time,
 *   here and on the server.
 * - When the scope closes, all pending operations fail with `Cancelled`, and so do later ones. No socket or timer
 *   remains.
 *
 * @module
 */
import { Config, Effect, Layer, Option, type Scope } from "effect"
import * as Setting from "../../internal/config.ts"
import type { InvalidOption } from "../../internal/options.ts"
import { Etcd } from "../Etcd.ts"
import { EtcdError, Unknown } from "../EtcdError.ts"
import { makeAdministration } from "./administration.ts"
import { Client } from "./Client.ts"
import { messageOf } from "./failures.ts"
import { leaseText, makeKeepAlive } from "./KeepAlive.ts"
import { encodeCompact, encodeDeleteRange, encodePut, encodeRange, encodeTxn } from "./messages/kv.ts"
import { encodeLeaseGrant, encodeLeaseRevoke, encodeLeaseTimeToLive } from "./messages/lease.ts"
import { encodeNothing } from "./messages/wire.ts"
import * as methods from "./methods.ts"
import * as violation from "./responseCheck.ts"
import { type Options, settingsOf } from "./settings.ts"
import { syncEndpoints } from "./syncEndpoints.ts"
import { keyText, makeWatch } from "./Watches.ts"

export { type DnsOptions, endpointsFromDns } from "./endpointsFromDns.ts"
export type { Options } from "./settings.ts"
export type { Tls } from "./Tls.ts"

/**
 * A client of an etcd cluster, for the lifetime of the scope.
 *
 * **Details**
 *
 * Fails with `InvalidOption` before any network I/O, also if certificates and keys do not match. Fails with an
 * `EtcdError` if `@grpc/grpc-js` does not load, for instance because a Deno permission is missing. The first
 * operation connects and authenticates. No fiber starts before that, except with `syncEvery`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  options: Options
) => Effect.Effect<Etcd, InvalidOption | EtcdError, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options) {
    const settings = yield* settingsOf(options)
    const client = yield* Client.make(settings, yield* loadGrpc)
    if (settings.syncEveryMillis !== undefined) client.run(syncEndpoints(client, settings.syncEveryMillis))
    return etcdOf(client)
  }
)

const loadGrpc = Effect.tryPromise({
  try: () => import("@grpc/grpc-js"),
  catch: (cause) => {
    const detail = `cannot load the package @grpc/grpc-js: ${messageOf(cause)}`
    return new EtcdError({ reason: new Unknown({ detail }), method: "connect", cause })
  }
})

/**
 * {@link Etcd} on a cluster. See {@link make}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Etcd, InvalidOption | EtcdError> =>
  Layer.effect(Etcd, make(options))

/**
 * The options from environment variables, or from another `ConfigProvider`.
 *
 * **Details**
 *
 * `ETCD_ENDPOINTS` is required: endpoints separated by commas. Optional are `ETCD_USERNAME`, `ETCD_PASSWORD`,
 * `ETCD_CA_CERT`, `ETCD_CERT`, `ETCD_KEY` (each PEM text or the path of a PEM file), `ETCD_KEY_PASSPHRASE`,
 * `ETCD_DIAL_TIMEOUT`, such as `3 seconds`, and `ETCD_SYNC_EVERY`, such as `30 seconds`.
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Options> = Config.all({
  endpoints: Setting.required("ETCD_ENDPOINTS", "the endpoints of etcd, such as http://127.0.0.1:2379"),
  username: Config.option(Setting.text("ETCD_USERNAME")),
  password: Config.option(Setting.secret("ETCD_PASSWORD")),
  ca: Config.option(Setting.text("ETCD_CA_CERT")),
  cert: Config.option(Setting.text("ETCD_CERT")),
  key: Config.option(Setting.secret("ETCD_KEY")),
  passphrase: Config.option(Setting.secret("ETCD_KEY_PASSPHRASE")),
  dialTimeout: Config.option(Config.Duration("ETCD_DIAL_TIMEOUT")),
  syncEvery: Config.option(Config.Duration("ETCD_SYNC_EVERY"))
}).pipe(Config.map(({ ca, cert, dialTimeout, endpoints, key, passphrase, password, syncEvery, username }): Options => {
  const tls = {
    ...given("ca", ca),
    ...given("cert", cert),
    ...given("key", key),
    ...given("passphrase", passphrase)
  }
  return {
    endpoints: endpoints.split(",").map((endpoint) => endpoint.trim()).filter((endpoint) => endpoint !== ""),
    ...given("username", username),
    ...given("password", password),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
    ...given("dialTimeout", dialTimeout),
    ...given("syncEvery", syncEvery)
  }
}))

const given = <Name extends string, A>(name: Name, value: Option.Option<A>): { readonly [N in Name]?: A } =>
  Option.isSome(value) ? { [name]: value.value } as { readonly [N in Name]: A } : {}

/**
 * {@link Etcd} on the cluster that {@link config} describes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<Etcd, InvalidOption | EtcdError | Config.ConfigError> = Layer.unwrap(
  Effect.map(config, layer)
)

/** The operations of the contract on a client. */
const etcdOf = (client: Client): Etcd => {
  const range = client.calls("range", methods.range)
  const put = client.calls("put", methods.put)
  const deleteRange = client.calls("deleteRange", methods.deleteRange)
  const txn = client.calls("txn", methods.txn)
  const compact = client.calls("compact", methods.compact)
  const leaseGrant = client.calls("leaseGrant", methods.leaseGrant)
  const leaseRevoke = client.calls("leaseRevoke", methods.leaseRevoke)
  const leaseTimeToLive = client.calls("leaseTimeToLive", methods.leaseTimeToLive)
  const leaseLeases = client.calls("leaseLeases", methods.leaseLeases)
  const status = client.calls("status", methods.status)
  return {
    range: (request) =>
      range(() => encodeRange(request), {
        key: () => keyText(request),
        requiresLeader: request.serializable !== true,
        violation: (response) => violation.ofRange(request, response)
      }),
    put: (request) => put(() => encodePut(request), { key: () => keyText(request), violation: violation.ofWrite }),
    deleteRange: (request) =>
      deleteRange(() => encodeDeleteRange(request), { key: () => keyText(request), violation: violation.ofWrite }),
    txn: (request) => txn(() => encodeTxn(request), { violation: (response) => violation.ofTxn(request, response) }),
    leaseGrant: (request) =>
      leaseGrant(() => encodeLeaseGrant(request), {
        key: () => leaseText(request.id ?? 0n),
        violation: (response) => violation.ofGrant(request, response)
      }),
    leaseRevoke: (id) => leaseRevoke(() => encodeLeaseRevoke(id), { key: () => leaseText(id) }),
    leaseTimeToLive: (request) =>
      leaseTimeToLive(() => encodeLeaseTimeToLive(request), {
        key: () => leaseText(request.id),
        violation: (response) => violation.ofLease(request, response)
      }),
    leaseLeases: leaseLeases(encodeNothing, { requiresLeader: false }),
    leaseKeepAlive: makeKeepAlive(client),
    watch: makeWatch(client),
    compact: (request) => compact(() => encodeCompact(request)),
    status: status(encodeNothing, { requiresLeader: false }),
    recovered: client.reachability.recovered,
    administration: makeAdministration(client)
  }
}
