/**
 * The shape of this package's own declarations.
 *
 * @module
 */
import { Duration, Result, Schema } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import * as Service from "../registry/model/Service.ts"
import * as Keyspace from "../registry/model/Keyspace.ts"
import { instanceId, serviceName } from "../registry/model/ServiceName.ts"
import { checkOptions } from "../internal/options.ts"
import * as Ttl from "../etcd/Ttl.ts"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"
import * as Probe from "./health/Probe.ts"
import type { Problem } from "./document.ts"
import { expand, ownSyntax } from "./environment.ts"
import { duration, durationOf, field, list, number, oneOf, secret, text, textThat } from "./fields.ts"
import { type ReadShape, recordOf } from "./shape.ts"

const optional = Schema.optionalKey

const etcdEndpoint = textThat((endpoint) =>
  /^(?:https?:\/\/)?[^\s/?#@]+$/i.test(endpoint) && (endpoint.includes("://") || /:\d+$/.test(endpoint)) ?
    Result.succeed(endpoint) :
    Result.fail("it must be http://host:port, https://host:port or host:port, without credentials")
)

const Etcd = Schema.Struct({
  endpoints: list(etcdEndpoint),
  username: optional(text),
  password: optional(secret),
  tls: optional(Schema.Struct({
    ca: optional(text),
    cert: optional(text),
    key: optional(text),
    serverName: optional(text)
  })),
  dialTimeout: optional(duration(1)),
  requestTimeout: optional(duration(1)),
  keepAliveTime: optional(duration(10_000)),
  maxReceiveBytes: optional(number(
    (bytes) => Number.isInteger(bytes) && bytes > 0 && bytes < 2 ** 31,
    `it must be a whole number from 1 to ${2 ** 31 - 1}`
  ))
})

const namespace = textThat((namespace) => Result.map(Keyspace.make(namespace), () => namespace))

const checkTtl = (ttl: Duration.Duration, heartbeat?: Duration.Duration) =>
  checkOptions("Declared.register", (check) => Ttl.make(check, ttl, heartbeat))

/** The rule of a heartbeat concerns two fields: see {@link crossed}. */
const ttl = field((value) =>
  Result.flatMap(
    durationOf(value),
    (ttl) => Result.mapBoth(checkTtl(ttl), { onFailure: ({ rule }) => rule, onSuccess: () => ttl })
  )
)

const probe = (read: (text: string) => Result.Result<Probe.Probe, string>): Schema.Codec<Probe.Probe, unknown> =>
  field((value) => typeof value === "string" ? read(value) : Result.fail("it must be text"))

/** Exactly one of `http`, `tcp` and `cmd`: see {@link crossed}. */
const Health = Schema.Struct({
  http: optional(probe(Probe.fromUrl)),
  tcp: optional(probe(Probe.fromAddress)),
  cmd: optional(probe(Probe.fromCommand)),
  interval: optional(duration(1)),
  timeout: optional(duration(1)),
  threshold: optional(number(
    (count) => Number.isInteger(count) && count >= 1,
    "it must be a whole number of at least 1"
  ))
})

/** Converts declared health checks to options of `registerService`. */
const healthOptions = (
  { cmd, http, interval = Probe.defaultInterval, tcp, threshold, timeout }: typeof Health.Type
) => {
  const probe = http ?? tcp ?? cmd
  return probe === undefined ? {} : {
    health: Probe.check(probe, timeout ?? interval),
    healthEvery: interval,
    ...(threshold === undefined ? {} : { healthThreshold: threshold })
  }
}

const shapeOf = (endpoint: Schema.Codec<string, unknown>) =>
  Schema.Struct({
    etcd: optional(Etcd),
    namespace: optional(namespace),
    services: optional(Schema.Array(Schema.Struct({
      name: textThat(serviceName),
      id: optional(textThat(instanceId)),
      endpoints: list(endpoint),
      version: optional(text),
      zone: optional(text),
      weight: optional(number(
        (weight) => Number.isFinite(weight) && weight >= 0,
        "it must be a finite number of at least 0"
      )),
      metadata: optional(Schema.Record(Schema.String, text)),
      ttl: optional(ttl),
      heartbeat: optional(duration(1)),
      claim: optional(oneOf("restart", "exclusive", "overwrite")),
      startup: optional(oneOf("await", "background")),
      startupTimeout: optional(duration(1)),
      drain: optional(duration(0)),
      releaseTimeout: optional(duration(1)),
      lease: optional(oneOf("own", "shared")),
      health: optional(Health),
      healthEvery: optional(duration(1)),
      healthThreshold: optional(number(
        (count) => Number.isInteger(count) && count >= 1,
        "it must be a whole number of at least 1"
      ))
    }))),
    discover: optional(Schema.Array(textThat(serviceName)))
  })

/** Reads this package's own shape. */
export const readOwnShape: ReadShape = (root, { decode, endpoint, variable }) => {
  const { problems: unset, tree } = expand(root, [], variable, ownSyntax)
  const expanded = recordOf(tree)
  // Members that begin with `x-` are free, for example for YAML anchors.
  const relevant = Object.fromEntries(Object.entries(expanded).filter(([key]) => !key.startsWith("x-")))
  const read = decode(shapeOf(endpoint), relevant, [], "error")
  const problems = [...unset, ...(Result.isFailure(read) ? read.failure : []), ...crossed(expanded)]
  if (Result.isFailure(read)) return { problems, warnings: [] }
  const { discover = [], etcd, namespace, services = [] } = read.success
  return {
    problems,
    warnings: [],
    parts: {
      ...(etcd === undefined ? {} : { etcd: etcd satisfies EtcdGrpcOptions }),
      ...(namespace === undefined ? {} : { namespace }),
      services: services.map(({ health, name, ...options }, index) => ({
        service: Service.make(name),
        options: { ...options, ...(health && healthOptions(health)) } satisfies RegisterOptions,
        pathOf: (option: string) => ["services", index, option]
      })),
      discover: discover.map((name) => Service.make(name))
    }
  }
}

/** The rules that span several fields. They apply only to fields that are valid on their own. */
const crossed = (tree: Readonly<Record<string, unknown>>): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  const need = (holder: Readonly<Record<string, unknown>>, path: Problem["path"], given: string, needed: string) => {
    if (given in holder && !(needed in holder)) {
      problems.push({ path: [...path, needed], rule: `it is needed beside ${given}` })
    }
  }
  const etcd = recordOf(tree["etcd"])
  need(etcd, ["etcd"], "username", "password")
  need(etcd, ["etcd"], "password", "username")
  const tls = recordOf(etcd["tls"])
  need(tls, ["etcd", "tls"], "cert", "key")
  need(tls, ["etcd", "tls"], "key", "cert")

  const ids = new Set<string>()
  const services: ReadonlyArray<unknown> = Array.isArray(tree["services"]) ? tree["services"] : []
  services.forEach((service, index) => {
    const { health, heartbeat, id, name, ttl } = recordOf(service)
    const path = ["services", index]
    if (health !== undefined) problems.push(...crossedHealth(recordOf(service), path))
    if (typeof name === "string" && typeof id === "string") {
      const pair = JSON.stringify([name, id])
      if (ids.has(pair)) {
        problems.push({
          path: [...path, "id"],
          rule: "it must be another one: an earlier service has this name and this id"
        })
      }
      ids.add(pair)
    }
    const [life, beat] = [durationOf(ttl ?? "15 seconds"), durationOf(heartbeat)]
    if (Result.isSuccess(life) && Result.isSuccess(beat) && Result.isSuccess(checkTtl(life.success))) {
      const checked = checkTtl(life.success, beat.success)
      if (Result.isFailure(checked)) problems.push({ path: [...path, "heartbeat"], rule: checked.failure.rule })
    }
  })
  return problems
}

/** The rules that span several fields of a health check. */
const crossedHealth = (
  service: Readonly<Record<string, unknown>>,
  path: Problem["path"]
): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  const health = recordOf(service["health"])
  if (["http", "tcp", "cmd"].filter((kind) => kind in health).length !== 1) {
    problems.push({ path: [...path, "health"], rule: "it must have one of http, tcp and cmd" })
  }
  for (const [option, member] of [["healthEvery", "interval"], ["healthThreshold", "threshold"]] as const) {
    if (option in service) problems.push({ path: [...path, option], rule: `beside health it is health.${member}` })
  }
  const [interval, timeout] = [durationOf(health["interval"] ?? "5 seconds"), durationOf(health["timeout"])]
  if (
    Result.isSuccess(interval) && Result.isSuccess(timeout) &&
    Duration.isGreaterThan(timeout.success, interval.success)
  ) problems.push({ path: [...path, "health", "timeout"], rule: "it must be at most interval (5 seconds by default)" })
  return problems
}
