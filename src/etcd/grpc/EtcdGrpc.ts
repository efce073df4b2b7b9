/**
 * The {@link Etcd} contract over gRPC: the client of real etcd servers, 3.4 and later.
 *
 * The package `etcd3` gives etcd's methods and the gRPC client; it is loaded when a client is made, and nowhere else. Its
 * own leases, watches and retries are not used. Requests are written here and answers of every day are read here: see
 * `grpc/messages.ts`.
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
 * - Timeouts of connections and streams run on Effect's `Clock`; the deadline of a single request runs on real
 *   time, here and on the server.
 * - When the scope closes, whatever is pending fails with `Cancelled`, and so does every operation after it. No socket
 *   or timer stays behind.
 *
 * @module
 */
import { Config, Effect, Layer, Option, type Scope } from "effect"
import { Buffer } from "node:buffer"
import { checkServerIdentity, type PeerCertificate } from "node:tls"
import { Etcd, type LeaseId } from "../Etcd.ts"
import { EtcdError, Unknown } from "../EtcdError.ts"
import type { Handle, Method } from "./Channel.ts"
import { Client, type Grpc, type Rpc } from "./Client.ts"
import { messageOf } from "./failures.ts"
import { makeKeepAlive } from "./KeepAlive.ts"
import {
  decode,
  encode,
  type LeaseLeasesMessage,
  type LeaseTimeToLiveMessage,
  type StatusMessage,
  toHeader,
  toPlain
} from "./messages.ts"
import { type Address, type EtcdGrpcOptions, type Identity, type Settings, settingsOf } from "./settings.ts"
import { keyText, makeWatch } from "./Watches.ts"

export type { EtcdGrpcOptions, EtcdGrpcTls } from "./settings.ts"

/**
 * A client for the lifetime of the scope.
 *
 * Fails with `InvalidArgument` when an option breaks its rule, before anything is sent. Whether etcd can be reached, and
 * whether it takes the password, shows with the first operation. Starts no fiber before there is something to do.
 */
export const make: (options: EtcdGrpcOptions) => Effect.Effect<Etcd, EtcdError, Scope.Scope> = Effect.fnUntraced(
  function* (options: EtcdGrpcOptions) {
    const settings = yield* settingsOf(options)
    const grpc = yield* Effect.tryPromise({
      try: () => loadGrpc(settings),
      catch: (cause) => {
        const detail = `the package etcd3 cannot be loaded; Deno needs --allow-net --allow-read --allow-env for it (${
          messageOf(cause)
        })`
        return new EtcdError({ reason: new Unknown({ detail }), method: "connect", cause })
      }
    })
    return etcdOf(yield* Client.make(settings, grpc))
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

const hex = (id: LeaseId) => () => id.toString(16)

/** The operations of the contract on a client. */
const etcdOf = (client: Client): Etcd => {
  const calls = <Response>(service: Rpc["service"], method: string, decode: (bytes: Uint8Array) => Response) =>
    client.calls({ service, method }, decode)
  /** Answers that are rare are read by `etcd3`. */
  const rareCalls = <Message, Response>(
    service: Rpc["service"],
    method: string,
    convert: (message: Message) => Response
  ) => {
    const { decode } = client.protocol({ service, method })
    return calls(service, method, (bytes) => convert(decode(bytes) as Message))
  }
  const range = calls("KV", "range", decode.range)
  const put = calls("KV", "put", decode.put)
  const deleteRange = calls("KV", "deleteRange", decode.deleteRange)
  const txn = calls("KV", "txn", decode.txn)
  const compact = calls("KV", "compact", decode.headerOnly)
  const leaseGrant = calls("Lease", "leaseGrant", decode.lease)
  const leaseRevoke = calls("Lease", "leaseRevoke", decode.headerOnly)
  const leaseTimeToLive = rareCalls("Lease", "leaseTimeToLive", (message: LeaseTimeToLiveMessage) => ({
    header: toHeader(message.header),
    id: BigInt(message.ID),
    ttl: Number(message.TTL),
    grantedTtl: Number(message.grantedTTL),
    keys: message.keys.map(toPlain)
  }))
  const leaseLeases = rareCalls("Lease", "leaseLeases", (message: LeaseLeasesMessage) => ({
    header: toHeader(message.header),
    leases: message.leases.map(({ ID }) => BigInt(ID))
  }))
  const status = rareCalls("Maintenance", "status", (message: StatusMessage) => ({
    header: toHeader(message.header),
    version: message.version,
    dbSize: BigInt(message.dbSize),
    leader: BigInt(message.leader),
    raftIndex: BigInt(message.raftIndex),
    raftTerm: BigInt(message.raftTerm)
  }))
  return {
    range: (request) => range(() => encode.range(request), () => keyText(request)),
    put: (request) => put(() => encode.put(request), () => keyText(request)),
    deleteRange: (request) => deleteRange(() => encode.deleteRange(request), () => keyText(request)),
    txn: (request) => txn(() => encode.txn(request)),
    leaseGrant: (request) => leaseGrant(() => encode.leaseGrant(request), hex(request.id ?? 0n)),
    leaseRevoke: (id) => leaseRevoke(() => encode.leaseRevoke(id), hex(id)),
    leaseTimeToLive: (request) => leaseTimeToLive(() => encode.leaseTimeToLive(request), hex(request.id)),
    leaseLeases: leaseLeases(encode.nothing),
    leaseKeepAlive: makeKeepAlive(client),
    watch: makeWatch(client),
    compact: (request) => compact(() => encode.compact(request)),
    status: status(encode.nothing)
  }
}

/** A method as the generated stubs describe it. */
interface MethodDefinition {
  readonly originalName: string
  readonly path: string
  readonly responseDeserialize: Method<unknown>["decode"]
}

/** A class of clients that `etcd3` has generated for a service. */
interface Stub {
  readonly service: Readonly<Record<string, MethodDefinition>>
}

/** The class of grpc-js that makes credentials. `etcd3` exports only instances. */
interface CredentialsClass {
  readonly createSsl: (
    ca: Buffer | null,
    key: Buffer | null,
    cert: Buffer | null,
    options: { readonly checkServerIdentity: (name: string, certificate: PeerCertificate) => Error | undefined }
  ) => object
}

/** Loads `etcd3`; takes from it how etcd's methods are called, and opens gRPC clients with it. */
const loadGrpc = async ({ keepAliveTime, maxReceiveBytes }: Settings): Promise<Grpc> => {
  const { Etcd3 } = await import("etcd3")

  /** With the pool in reach that gives raw gRPC clients, without retries and circuit breakers around each call. */
  class Pool extends Etcd3 {
    async of(name: Rpc["service"]) {
      return await this.pool.withConnection(name, ({ client, metadata, resource }) => ({ client, metadata, resource }))
    }
  }

  /** Is never connected. */
  const stubs = new Pool({ hosts: "127.0.0.1:2379" })
  const methods = new Map<string, Method<unknown>>()
  for (const name of ["Auth", "KV", "Lease", "Maintenance", "Watch"] as const) {
    const { client: { constructor } } = await stubs.of(name)
    const definitions = Object.values((constructor as unknown as Stub).service)
    for (const { originalName, path, responseDeserialize } of definitions) {
      methods.set(`${name}.${originalName}`, { path, decode: responseDeserialize })
    }
  }
  stubs.close()

  const channelOptions = {
    "grpc.keepalive_time_ms": keepAliveTime,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.service_config_disable_resolution": 1,
    // The connection is this client's own, and goes with it.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0
  }

  return {
    protocol: ({ method, service }) => {
      const found = methods.get(`${service}.${method}`)
      if (found === undefined) throw new Error(`etcd3 does not know ${service}.${method}`)
      return found
    },
    open: async ({ tls, url }: Address): Promise<Handle> => {
      const pool = new Pool({ hosts: url, grpcOptions: channelOptions })
      const { client, metadata, resource } = await pool.of("KV")
      if (tls === undefined) return { client, metadata }
      pool.close()
      return { client: secured(resource, url, tls, channelOptions).getServiceClient("KV"), metadata }
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
