/**
 * The {@link Etcd} contract over gRPC: the client of real etcd servers, 3.4 and later.
 *
 * The package `etcd3` gives etcd's messages and the gRPC client; it is loaded when a client is made, and nowhere else.
 * Its own leases, watches and retries are not used.
 *
 * What to know:
 *
 * - Making a client does no I/O to etcd: it may be down. The first operation connects.
 * - A client uses one endpoint at a time. What fails or does not answer there moves it on to the next for everything
 *   that follows. Nothing is repeated by itself.
 * - All heartbeats share one stream, all watches share another. Once opened they stay open until the client's scope
 *   closes, and are opened again when they are needed after a break.
 * - A stream that does not answer in time is given up with the whole connection; waiting heartbeats and watches fail
 *   and can be started again at once.
 * - An auth token is fetched when the first operation needs it and renewed when the server does not know it any more.
 * - Connections are made directly, whatever HTTP proxy the environment names.
 * - Timeouts of connections and streams run on Effect's `Clock`; the deadline of a single request is gRPC's own.
 * - When the scope closes, whatever is pending fails with `Cancelled`, and so does every operation after it. No socket
 *   or timer stays behind.
 *
 * @module
 */
import { Config, Effect, Layer, Option, type Scope } from "effect"
import { Buffer } from "node:buffer"
import { checkServerIdentity, type PeerCertificate } from "node:tls"
import { Etcd, type LeaseId } from "./Etcd.ts"
import { EtcdError, Unknown } from "./EtcdError.ts"
import { type Channel, Client, type Duplex, type Metadata, type OpenChannel, type Rpc } from "./grpc/Client.ts"
import { messageOf } from "./grpc/failures.ts"
import { makeKeepAlive } from "./grpc/KeepAlive.ts"
import {
  fromDeleteRangeRequest,
  fromPutRequest,
  fromRangeRequest,
  fromTxnRequest,
  type HeaderOnlyMessage,
  int64,
  integer,
  type LeaseGrantMessage,
  type LeaseLeasesMessage,
  type LeaseTimeToLiveMessage,
  type StatusMessage,
  toDeleteRangeResponse,
  toHeader,
  toPlain,
  toPutResponse,
  toRangeResponse,
  toTxnResponse
} from "./grpc/messages.ts"
import { type Address, type EtcdGrpcOptions, type Identity, type Settings, settingsOf } from "./grpc/settings.ts"
import { keyText, makeWatch } from "./grpc/Watches.ts"

export type { EtcdGrpcOptions, EtcdGrpcTls } from "./grpc/settings.ts"

/**
 * A client for the lifetime of the scope.
 *
 * Fails with `InvalidArgument` when an option breaks its rule, before anything is sent. Whether etcd can be reached, and
 * whether it takes the password, shows with the first operation. Starts no fiber before there is something to do.
 */
export const make: (options: EtcdGrpcOptions) => Effect.Effect<Etcd, EtcdError, Scope.Scope> = Effect.fnUntraced(
  function* (options: EtcdGrpcOptions) {
    const settings = yield* settingsOf(options)
    const open = yield* Effect.tryPromise({
      try: () => loadGrpc(settings),
      catch: (cause) => {
        const detail = `the package etcd3 cannot be loaded; Deno needs --allow-net --allow-read --allow-env for it (${
          messageOf(cause)
        })`
        return new EtcdError({ reason: new Unknown({ detail }), method: "connect", cause })
      }
    })
    return etcdOf(yield* Client.make(settings, open))
  }
)

/** {@link Etcd} on a cluster; see {@link make}. */
export const layer = (options: EtcdGrpcOptions): Layer.Layer<Etcd, EtcdError> => Layer.effect(Etcd, make(options))

/**
 * The options that environment variables (or another `ConfigProvider`) give: `ETCD_ENDPOINTS`, separated by commas, and
 * as far as they are set `ETCD_USERNAME`, `ETCD_PASSWORD`, `ETCD_CA_CERT`, `ETCD_CERT` and `ETCD_KEY` (PEM text or the
 * path of a PEM file), `ETCD_DIAL_TIMEOUT` (such as `3 seconds`).
 */
export const config: Config.Config<EtcdGrpcOptions> = Config.all({
  endpoints: Config.String("ETCD_ENDPOINTS"),
  username: Config.option(Config.String("ETCD_USERNAME")),
  password: Config.option(Config.Redacted("ETCD_PASSWORD")),
  ca: Config.option(Config.String("ETCD_CA_CERT")),
  cert: Config.option(Config.String("ETCD_CERT")),
  key: Config.option(Config.String("ETCD_KEY")),
  dialTimeout: Config.option(Config.Duration("ETCD_DIAL_TIMEOUT"))
}).pipe(Config.map(({ ca, cert, dialTimeout, endpoints, key, password, username }): EtcdGrpcOptions => {
  const tls = { ...given("ca", ca), ...given("cert", cert), ...given("key", key) }
  return {
    endpoints: endpoints.split(",").map((endpoint) => endpoint.trim()).filter((endpoint) => endpoint !== ""),
    ...given("username", username),
    ...given("password", password),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
    ...given("dialTimeout", dialTimeout)
  }
}))

const given = <Name extends string, A>(name: Name, value: Option.Option<A>): { readonly [N in Name]?: A } =>
  Option.isSome(value) ? { [name]: value.value } as { readonly [N in Name]: A } : {}

/** {@link Etcd} on the cluster that {@link config} describes. */
export const layerConfig: Layer.Layer<Etcd, EtcdError | Config.ConfigError> = Layer.unwrap(Effect.map(config, layer))

const rpc = (service: Rpc["service"], method: string): Rpc => ({ service, method })

const hex = (id: LeaseId) => () => id.toString(16)

/** The operations of the contract on a client. */
const etcdOf = (client: Client): Etcd => ({
  range: (request) =>
    client.call(rpc("KV", "range"), () => fromRangeRequest(request), toRangeResponse, () => keyText(request)),
  put: (request) => client.call(rpc("KV", "put"), () => fromPutRequest(request), toPutResponse, () => keyText(request)),
  deleteRange: (request) =>
    client.call(
      rpc("KV", "deleteRange"),
      () => fromDeleteRangeRequest(request),
      toDeleteRangeResponse,
      () => keyText(request)
    ),
  txn: (request) => client.call(rpc("KV", "txn"), () => fromTxnRequest(request), toTxnResponse),
  leaseGrant: ({ id = 0n, ttl }) =>
    client.call(
      rpc("Lease", "leaseGrant"),
      () => ({ ID: int64(id, "id"), TTL: integer(ttl, "ttl") }),
      ({ ID, TTL, header }: LeaseGrantMessage) => ({ header: toHeader(header), id: BigInt(ID), ttl: Number(TTL) }),
      hex(id)
    ),
  leaseRevoke: (id) => client.call(rpc("Lease", "leaseRevoke"), () => ({ ID: int64(id, "id") }), headerOnly, hex(id)),
  leaseTimeToLive: ({ id, keys = false }) =>
    client.call(
      rpc("Lease", "leaseTimeToLive"),
      () => ({ ID: int64(id, "id"), keys }),
      (message: LeaseTimeToLiveMessage) => ({
        header: toHeader(message.header),
        id: BigInt(message.ID),
        ttl: Number(message.TTL),
        grantedTtl: Number(message.grantedTTL),
        keys: message.keys.map(toPlain)
      }),
      hex(id)
    ),
  leaseLeases: client.call(
    rpc("Lease", "leaseLeases"),
    () => ({}),
    ({ header, leases }: LeaseLeasesMessage) => ({
      header: toHeader(header),
      leases: leases.map(({ ID }) => BigInt(ID))
    })
  ),
  leaseKeepAlive: makeKeepAlive(client),
  watch: makeWatch(client),
  compact: ({ physical = false, revision }) =>
    client.call(rpc("KV", "compact"), () => ({ revision: int64(revision, "revision"), physical }), headerOnly),
  status: client.call(rpc("Maintenance", "status"), () => ({}), (message: StatusMessage) => ({
    header: toHeader(message.header),
    version: message.version,
    dbSize: BigInt(message.dbSize),
    leader: BigInt(message.leader),
    raftIndex: BigInt(message.raftIndex),
    raftTerm: BigInt(message.raftTerm)
  }))
})

const headerOnly = ({ header }: HeaderOnlyMessage) => ({ header: toHeader(header) })

/** States of a gRPC channel. */
const ready = 2
const shutdown = 4

/** A generated method: takes the client it runs on as `this`, so that it can run on that of another service. */
type Method = (this: object, ...args: Array<unknown>) => unknown

/** The class of grpc-js that makes credentials. `etcd3` exports only instances. */
interface CredentialsClass {
  readonly createSsl: (
    ca: Buffer | null,
    key: Buffer | null,
    cert: Buffer | null,
    options: { readonly checkServerIdentity: (name: string, certificate: PeerCertificate) => Error | undefined }
  ) => object
}

/** Loads `etcd3`; opens gRPC channels with it. */
const loadGrpc = async ({ keepAliveTime, maxReceiveBytes }: Settings): Promise<OpenChannel> => {
  const { Etcd3 } = await import("etcd3")

  /** With the pool in reach that gives raw gRPC clients, without retries and circuit breakers around each call. */
  class Pool extends Etcd3 {
    async host() {
      return await this.pool.withConnection("KV", ({ metadata, resource }) => ({ metadata, host: resource }))
    }
  }

  const channelOptions = {
    "grpc.keepalive_time_ms": keepAliveTime,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.service_config_disable_resolution": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0
  }

  return async ({ tls, url }: Address): Promise<Channel> => {
    const pool = new Pool({ hosts: url, grpcOptions: channelOptions })
    const { host: plain, metadata } = await pool.host()
    const host = tls === undefined ? plain : secured(plain, url, tls, channelOptions)
    if (host !== plain) pool.close()

    const carrier = host.getServiceClient("KV")
    const channel = carrier.getChannel()
    const invoke = ({ method, service }: Rpc, ...args: Array<unknown>): unknown => {
      const client = host.getServiceClient(service) as unknown as Record<string, Method>
      return client[method]?.apply(carrier, args)
    }
    return {
      isReady: () => channel.getConnectivityState(false) === ready,
      whenReady: (listener) => {
        const look = () => {
          const state = channel.getConnectivityState(true)
          if (state === ready) listener()
          else if (state !== shutdown) channel.watchConnectivityState(state, Infinity, look)
        }
        look()
      },
      metadata: (): Metadata => metadata.clone(),
      unary: (rpc, message, metadata, deadline, callback) =>
        invoke(rpc, message, metadata, { deadline }, callback) as { readonly cancel: () => void },
      duplex: (rpc, metadata) => invoke(rpc, metadata, {}) as Duplex,
      close: () => host.close()
    }
  }
}

/**
 * The same host with credentials that know whom to expect.
 *
 * grpc-js can only ask for the name in the URL, and Deno and Bun refuse to ask for an IP address at all. So any name is
 * asked for, and the certificate is compared with the one that counts.
 */
const secured = <Host extends object>(host: Host, url: string, tls: Identity, channelOptions: object): Host => {
  const { constructor } = Reflect.get(host, "channelCredentials") as object
  const pem = (text: string | undefined) => text === undefined ? null : Buffer.from(text)
  const credentials = (constructor as unknown as CredentialsClass).createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert), {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(tls.subject, certificate)
  })
  const options = { ...channelOptions, "grpc.ssl_target_name_override": tls.serverName }
  return Reflect.construct(host.constructor, [url, credentials, options]) as Host
}
