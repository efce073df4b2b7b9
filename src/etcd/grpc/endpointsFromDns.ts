/**
 * The endpoints of a cluster from DNS SRV records.
 *
 * @module
 */
import { type Duration, Effect, Random } from "effect"
import type { SrvRecord } from "node:dns"
import { Resolver } from "node:dns/promises"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import { formatDuration } from "../../internal/time/format.ts"
import { EtcdError, Unavailable } from "../EtcdError.ts"
import { messageOf } from "./failures.ts"

/**
 * How to look up SRV records.
 *
 * @since 0.1.0
 * @category options
 */
export interface DnsOptions {
  /** Whether to look up `_etcd-client-ssl._tcp` for `https://` endpoints, or `_etcd-client._tcp` for `http://`. Default: true. */
  readonly tls?: boolean
  /** For one of several clusters of a domain: looks up `_etcd-client-ssl-<name>._tcp` or `_etcd-client-<name>._tcp`. */
  readonly serviceName?: string
  /** The DNS servers to ask, such as `127.0.0.1:8600`. Default: those of the system. */
  readonly servers?: ReadonlyArray<string>
  /** How long a lookup may take. Default: 5 seconds. */
  readonly timeout?: Duration.Input
}

/**
 * The endpoints of a cluster from the SRV records of a domain.
 *
 * **Details**
 *
 * `etcdctl --discovery-srv` reads the same records. The name is `_etcd-client-ssl._tcp.<domain>`, or with `tls: false`
 * `_etcd-client._tcp.<domain>`. Lower priorities come first; within one priority the order is random by weight. The
 * lookup runs once. With `syncEvery`, the client follows the members from then on. Records without a host name or a
 * port are ignored, and so is what is beyond the first 64 endpoints.
 *
 * Fails with `Unavailable` if there are no usable records or the lookup fails, and with `InvalidOption` before any I/O.
 *
 * **Gotchas**
 *
 * - `etcdctl` looks up both names. Here an answer that is missing or forged never leads to a connection without TLS.
 * - A forged answer can name another host with a valid certificate of its own. Set `tls.serverName` to a name that the
 *   certificates of all members have, such as the domain.
 *
 * @example
 * ```ts
 * import { EtcdGrpc } from "@effect-etcd/discovery/etcd"
 * import { Effect, Layer } from "effect"
 *
 * export const layer = Layer.unwrap(Effect.map(
 *   EtcdGrpc.endpointsFromDns("example.com"),
 *   (endpoints) => EtcdGrpc.layer({ endpoints, syncEvery: "30 seconds", tls: { serverName: "example.com" } })
 * ))
 * ```
 *
 * @since 0.1.0
 * @category endpoints
 */
export const endpointsFromDns = (
  domain: string,
  options: DnsOptions = {}
): Effect.Effect<ReadonlyArray<string>, InvalidOption | EtcdError> =>
  Effect.gen(function* () {
    const { name, scheme, servers, timeout } = yield* Effect.fromResult(
      checkOptions("EtcdGrpc.endpointsFromDns", (check) => checked(check, domain, options))
    )
    const records = yield* inOrder(yield* resolve(name, servers, timeout))
    if (records.length === 0) return yield* failure(`there are no SRV records of ${name}`)
    const hosts = hostsOf(records)
    if (hosts.length === 0) return yield* failure(`no SRV record of ${name} has a host name and a port`)
    return hosts.map((host) => `${scheme}://${host}`)
  })

/** The client may connect to all endpoints at the same time. */
const maxHosts = 64

const checked = (check: Check, domain: string, options: DnsOptions) => {
  const { serviceName, servers = [], timeout = "5 seconds", tls = true } = options
  if (!isDomain(check.text("domain", domain))) {
    check.refuse("domain", domain, "it must be a domain, such as example.com")
  }
  if (serviceName !== undefined && !isLabel(check.text("serviceName", serviceName))) {
    check.refuse("serviceName", serviceName, "it must be a part of a domain, such as blue")
  }
  const service = ["_etcd-client", ...(tls ? ["ssl"] : []), ...(serviceName === undefined ? [] : [serviceName])]
  return {
    name: `${service.join("-")}._tcp.${domain}`,
    scheme: check.oneOf("tls", tls, [true, false]) ? "https" : "http",
    servers: check.list("servers", servers).map((server) => check.text("servers", server)),
    timeout: check.duration("timeout", timeout)
  }
}

const withoutDot = (name: string): string => name.replace(/\.$/, "")

const hostLabel = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i

/**
 * Whether a record names a host and a port. The target `.` means that the service is not offered (RFC 2782). One such
 * record, or a forged one, must not make the client refuse the others.
 */
const isUsable = ({ name, port }: SrvRecord): boolean =>
  port > 0 && withoutDot(name).split(".").every((label) => hostLabel.test(label)) && URL.canParse(`https://${name}`)

/** Each `host:port` of usable records once, in their order, up to {@link maxHosts}. */
export const hostsOf = (records: ReadonlyArray<SrvRecord>): ReadonlyArray<string> =>
  Array.from(new Set(records.filter(isUsable).map(({ name, port }) => `${withoutDot(name).toLowerCase()}:${port}`)))
    .slice(0, maxHosts)

const isLabel = (text: string): boolean => /^[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?$/i.test(text)

const isDomain = (text: string): boolean => text.length <= 230 && withoutDot(text).split(".").every(isLabel)

const failure = (detail: string, cause?: unknown): EtcdError =>
  new EtcdError({ reason: new Unavailable({ detail }), method: "endpointsFromDns", cause })

const resolve = (
  name: string,
  servers: ReadonlyArray<string>,
  timeout: Duration.Duration
): Effect.Effect<ReadonlyArray<SrvRecord>, EtcdError> =>
  Effect.suspend(() => {
    const resolver = new Resolver()
    return Effect.tryPromise({
      try: () => {
        if (servers.length > 0) resolver.setServers(servers)
        return resolver.resolveSrv(name)
      },
      catch: (cause) => failure(`cannot look up SRV records of ${name}: ${messageOf(cause)}`, cause)
    }).pipe(
      Effect.onInterrupt(() => Effect.sync(() => resolver.cancel())),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(failure(`cannot look up SRV records of ${name}: no answer within ${formatDuration(timeout)}`))
      })
    )
  })

/** The records in the order of use (RFC 2782). */
export const inOrder = (records: ReadonlyArray<SrvRecord>): Effect.Effect<ReadonlyArray<SrvRecord>> =>
  Effect.map(
    Effect.forEach(records, (record) =>
      Effect.map(Random.next, (number) => ({
        record,
        // Among exponential variates, the probability of being the smallest is proportional to the weight.
        draw: -Math.log(1 - number) / Math.max(record.weight, 1e-3)
      }))),
    (drawn) =>
      drawn.toSorted((a, b) => a.record.priority - b.record.priority || a.draw - b.draw).map(({ record }) => record)
  )
