/**
 * Reads the parts of go-zero's configuration files that concern etcd.
 *
 * go-zero ignores the case of names (`core/conf`). These parts are read, at any level and in lists:
 *
 * - `Etcd` beside `ListenOn` (`zrpc.RpcServerConf`): `Key` is registered.
 * - `Etcd` without `ListenOn` (`zrpc.RpcClientConf`, upstreams of a gateway): `Key` is discovered.
 * - `Target: etcd://host:port,host:port/key` of a client: the key is discovered.
 *
 * As in go-zero, `Endpoints` of a client override its `Target`, and `Target` overrides its `Etcd`. All other parts are
 * ignored.
 *
 * @module
 */
import { Duration, Redacted, Result, Schema } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import { showPath } from "../internal/text/paths.ts"
import { goZero } from "../interop/goZero.ts"
import * as Service from "../registry/model/Service.ts"
import type { Path, Problem } from "./document.ts"
import { expand, shellSyntax } from "./environment.ts"
import { list, number, secret, text, textThat, truth } from "./fields.ts"
import { type ReadShape, recordOf } from "./shape.ts"

const optional = Schema.optionalKey

/** go-zero's `TimeToLive`. */
const timeToLive = Duration.seconds(10)

const host = textThat((host) =>
  /^(?:https?:\/\/)?[^\s/?#@]+:\d+$/i.test(host) ?
    Result.succeed(host) :
    Result.fail("it must be host:port, without credentials")
)

const key = textThat((key) => goZero.layout?.checkName(key) ?? Result.succeed(key))

const Etcd = Schema.Struct({
  Hosts: list(host),
  Key: key,
  ID: optional(number(
    (id) => Number.isSafeInteger(id) && id >= 0,
    "it must be a whole number from 0 (none) to 9007199254740991"
  )),
  User: optional(text),
  Pass: optional(secret),
  CertFile: optional(text),
  CertKeyFile: optional(text),
  CACertFile: optional(text),
  InsecureSkipVerify: optional(truth.check(Schema.makeFilter(
    (skips) => skips ? "it must be false: a server is always verified; give its authority as CACertFile" : undefined
  )))
})

type Tree = Readonly<Record<string, unknown>>

/** A member of a record, with its name as written. */
interface Member {
  readonly name: string
  readonly value: unknown
}

/** Finds a member by its name in any case. */
const memberOf = (record: Tree, name: string): Member | undefined => {
  for (const [spelling, value] of Object.entries(record)) {
    if (spelling.toLowerCase() === name.toLowerCase()) return { name: spelling, value }
  }
  return undefined
}

/** A record with an `Etcd` or an etcd `Target`. */
interface Holder {
  readonly path: Path
  readonly record: Tree
}

const target = /^(?:etcd|discov):\/\/([^/]*)\/(.*)$/i

const isSet = (member: Member | undefined): member is Member =>
  member !== undefined && member.value !== null && member.value !== "" &&
  !(Array.isArray(member.value) && member.value.length === 0)

/** Every such record of a tree, level by level in the order of the file. */
const holdersIn = (root: unknown): ReadonlyArray<Holder> => {
  const found: Array<Holder> = []
  const places: Array<{ readonly path: Path; readonly value: unknown }> = [{ path: [], value: root }]
  // The loop appends to the list that it walks.
  for (const { path, value } of places) {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) places.push({ path: [...path, index], value: item })
      continue
    }
    const record = recordOf(value)
    const targeted = memberOf(record, "Target")
    if (
      memberOf(record, "Etcd") !== undefined || (typeof targeted?.value === "string" && target.test(targeted.value))
    ) found.push({ path, record })
    for (const [name, member] of Object.entries(record)) {
      if (name.toLowerCase() !== "etcd") places.push({ path: [...path, name], value: member })
    }
  }
  return found
}

const ownNames = ["etcd", "namespace", "services", "discover"]

/** Returns whether a file has the shape of go-zero. An `etcd` with `endpoints` belongs to this package's own shape. */
export const isGoZero = (root: Tree): boolean => {
  const { etcd } = root
  const isOwn = ["namespace", "services", "discover"].some((name) => name in root) || "endpoints" in recordOf(etcd)
  return !isOwn &&
    holdersIn(root).some(({ path, record }) =>
      path.length > 0 || !("etcd" in record) || memberOf(recordOf(etcd), "Hosts") !== undefined ||
      memberOf(recordOf(etcd), "Key") !== undefined
    )
}

const goZeroNames = ["ListenOn", "Mode", "Upstreams", "Telemetry", "DevServer", "Log", "Host", "Port", "Timeout"]

/** Returns whether a file looks like go-zero's but has no `Etcd`. */
export const isGoZeroWithoutEtcd = (root: Tree): boolean =>
  !ownNames.some((name) => name in root) && goZeroNames.some((name) => memberOf(root, name) !== undefined)

/** The problem of a go-zero file without an `Etcd`. */
export const withoutEtcd: Problem = {
  path: [],
  rule: "this file of go-zero has no Etcd: { Hosts, Key } and no Target: etcd://hosts/key, so it declares nothing"
}

/** The settings in an `Etcd` or a `Target`. */
interface Block {
  /** The path of a member for problems. */
  readonly pathOf: (name: string) => Path
  readonly etcd: typeof Etcd.Type
  /** The value of `ListenOn`, for a server. */
  readonly listenOn: string | undefined
}

/** Reads the shape of go-zero's files. */
export const readGoZero: ReadShape = (root, { decode, endpoint, variable }) => {
  const problems: Array<Problem> = []
  const warnings: Array<Problem> = []
  const blocks: Array<Block> = []
  const servers: Array<{ readonly pathOf: Block["pathOf"]; readonly path: Path; readonly hosts: string }> = []

  const expanded = (value: unknown, path: Path): unknown => {
    const { problems: unset, tree } = expand(value, path, variable, shellSyntax)
    problems.push(...unset)
    return tree
  }
  const decoded = <A>(schema: Schema.Codec<A, unknown>, value: unknown, path: Path, pathOf?: Block["pathOf"]) => {
    const result = decode(schema, value, path, "ignore")
    if (Result.isSuccess(result)) return result.success
    for (const { path: at, rule } of result.failure) {
      const [name, ...rest] = at.slice(path.length)
      problems.push({ path: pathOf === undefined || typeof name !== "string" ? at : [...pathOf(name), ...rest], rule })
    }
    return undefined
  }

  /** Reads `Etcd`. The schema uses go-zero's documented names; problems use the names as written. */
  const readEtcd = (path: Path, { value }: Member): Omit<Block, "listenOn"> | undefined => {
    const record = recordOf(value)
    if (record !== value) {
      problems.push({ path, rule: "it must have members" })
      return undefined
    }
    const names = new Map(Object.keys(Etcd.fields).map((name) => [name.toLowerCase(), name]))
    const spellings = new Map<string, string>()
    const members: Record<string, unknown> = {}
    for (const [spelling, member] of Object.entries(record)) {
      const name = names.get(spelling.toLowerCase())
      if (name === undefined) {
        warnings.push({ path: [...path, spelling], rule: "go-zero's Etcd has no such setting; it is ignored" })
        continue
      }
      if (spellings.has(name)) problems.push({ path: [...path, spelling], rule: `${name} occurs twice` })
      spellings.set(name, spelling)
      members[name] = expanded(member, [...path, spelling])
    }
    const pathOf = (name: string) => [...path, spellings.get(name) ?? name]
    const together = (...group: ReadonlyArray<string>) => {
      const set = group.filter((name) => isSet({ name, value: members[name] ?? null }))
      const missing = group.filter((name) => !set.includes(name))
      if (set.length === 0 || missing.length === 0) return
      problems.push({ path: pathOf(set[0] ?? ""), rule: `it counts only with ${missing.join(" and ")} beside it` })
    }
    const hosts = decode(list(text), members["Hosts"], [], "ignore")
    if (Result.isSuccess(hosts)) servers.push({ pathOf, path, hosts: sortedHosts(hosts.success) })
    const etcd = decoded(Etcd, members, path, pathOf)
    together("User", "Pass")
    together("CertFile", "CertKeyFile", "CACertFile")
    return etcd === undefined ? undefined : { pathOf, etcd }
  }

  /** Reads `Target: etcd://host:port,host:port/key`. */
  const readTarget = (path: Path, { value }: Member): Omit<Block, "listenOn"> | undefined => {
    const [, hosts = "", name = ""] = target.exec(String(expanded(value, path))) ?? []
    const pathOf = () => path
    servers.push({ pathOf, path, hosts: sortedHosts(hosts.split(",")) })
    const read = decode(Etcd, { Hosts: hosts, Key: name }, [], "ignore")
    if (Result.isSuccess(read)) return { pathOf, etcd: read.success }
    problems.push({ path, rule: "it must be etcd://host:port/key, or several host:port with commas" })
    return undefined
  }

  for (const { path, record } of holdersIn(root)) {
    const [block, targeted, endpoints, listenOn] = ["Etcd", "Target", "Endpoints", "ListenOn"].map((name) =>
      memberOf(record, name)
    )
    if (isSet(listenOn)) {
      if (block === undefined) continue
      const at = [...path, listenOn.name]
      const read = readEtcd([...path, block.name], block)
      const address = decoded(endpoint, expanded(listenOn.value, at), at)
      if (read !== undefined && address !== undefined) blocks.push({ ...read, listenOn: address })
    } else if (isSet(endpoints)) {
      const ignored = block ?? targeted
      if (ignored === undefined) continue
      warnings.push({ path: [...path, ignored.name], rule: `it is ignored: ${endpoints.name} beside it override it` })
    } else if (isSet(targeted)) {
      if (block !== undefined) {
        warnings.push({ path: [...path, block.name], rule: `it is ignored: ${targeted.name} beside it overrides it` })
      }
      if (!target.test(String(targeted.value))) continue
      const read = readTarget([...path, targeted.name], targeted)
      if (read !== undefined) blocks.push({ ...read, listenOn: undefined })
    } else if (block !== undefined) {
      const read = readEtcd([...path, block.name], block)
      if (read !== undefined) blocks.push({ ...read, listenOn: undefined })
    }
  }

  const [server] = servers
  for (const { hosts, pathOf } of servers) {
    if (server !== undefined && hosts !== server.hosts) {
      problems.push({
        path: pathOf("Hosts"),
        rule: `they must be those of ${showPath(server.path)}: a registry uses one etcd`
      })
    }
  }
  const secured = blocks.filter(({ etcd }) => credentialsOf(etcd) !== "")
  const [owner] = secured
  for (const { etcd, pathOf } of secured) {
    if (owner !== undefined && credentialsOf(etcd) !== credentialsOf(owner.etcd)) {
      problems.push({ path: pathOf("Hosts"), rule: "its user and certificates must be those of the other Etcd blocks" })
    }
  }
  const [first] = blocks
  if (first === undefined || problems.length > 0) {
    if (first === undefined && problems.length === 0) problems.push(withoutEtcd)
    return { problems, warnings }
  }

  // Consumers of one service value share a watch.
  const services = new Map(
    blocks.map(({ etcd: { Key } }) => [Key, Service.make(Key, { codec: goZero })] as const)
  )
  const serviceOf = (name: string) => services.get(name) ?? Service.make(name, { codec: goZero })
  return {
    problems,
    warnings,
    parts: {
      etcd: etcdOf((owner ?? first).etcd),
      services: blocks.flatMap(({ etcd: { ID, Key }, listenOn, pathOf }) =>
        listenOn === undefined ? [] : [{
          service: serviceOf(Key),
          options: {
            ...(ID === undefined || ID === 0 ? {} : { id: String(ID) }),
            endpoints: [listenOn] as const,
            ttl: timeToLive
          },
          pathOf: (option: string) => pathOf(option === "id" ? "ID" : "Key")
        }]
      ),
      discover: [...new Set(blocks.filter(({ listenOn }) => listenOn === undefined).map(({ etcd }) => etcd.Key))].map(
        serviceOf
      )
    }
  }
}

const sortedHosts = (hosts: ReadonlyArray<string>): string =>
  [...new Set(hosts.map((host) => host.trim().toLowerCase()))].sort().join()

const credentialsOf = ({ CACertFile, CertFile, CertKeyFile, Pass, User }: typeof Etcd.Type): string =>
  [User, Pass === undefined ? "" : Redacted.value(Pass), CertFile, CertKeyFile, CACertFile]
      .some((part) => part !== undefined && part !== "") ?
    JSON.stringify([User, Pass === undefined ? "" : Redacted.value(Pass), CertFile, CertKeyFile, CACertFile]) :
    ""

const etcdOf = ({ CACertFile, CertFile, CertKeyFile, Hosts, Pass, User }: typeof Etcd.Type): EtcdGrpcOptions => ({
  endpoints: Hosts,
  ...(User === undefined || User === "" || Pass === undefined ? {} : { username: User, password: Pass }),
  ...(CertFile && CertKeyFile && CACertFile ? { tls: { ca: CACertFile, cert: CertFile, key: CertKeyFile } } : {})
})
