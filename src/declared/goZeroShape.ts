/**
 * The configuration files of go-zero, as far as they are about etcd: `Etcd` and `ListenOn` of its `zrpc.RpcServerConf`,
 * `Etcd` of each `zrpc.RpcClientConf` (go-zero `core/discov/config.go`, `zrpc/config.go`). Everything else in them is
 * for others and is passed over.
 *
 * A file with `ListenOn` beside its `Etcd` registers `Key`; any other `Etcd`, at the root or one below, is discovered.
 *
 * @module
 */
import { Duration, Result, Schema } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import { serviceName } from "../registry/model/ServiceName.ts"
import type { Problem } from "./environment.ts"
import { list, number, secret, text, textThat, truth } from "./fields.ts"
import { type DeclaredShape, recordOf } from "./shape.ts"

const optional = Schema.optionalKey

/** go-zero's `TimeToLive`. */
const timeToLive = Duration.seconds(10)

const Etcd = Schema.Struct({
  Hosts: list(
    textThat((host) =>
      /^(?:https?:\/\/)?[^\s/?#@]+:\d+$/i.test(host) ?
        Result.succeed(host) :
        Result.fail("it must be host:port, without credentials")
    )
  ),
  Key: textThat(serviceName),
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
    (skips) => skips ? "it cannot be true: a server is always verified; give its authority as CACertFile" : undefined
  )))
})

/** Where an `Etcd` stands: at the root, or in the configuration of a client. */
const blocksOf = (
  tree: Readonly<Record<string, unknown>>
): ReadonlyArray<readonly [path: ReadonlyArray<string>, block: unknown]> => [
  ...("Etcd" in tree ? [[["Etcd"], tree["Etcd"]] as const] : []),
  ...Object.entries(tree).flatMap(([name, member]) =>
    name !== "Etcd" && "Etcd" in recordOf(member) ? [[[name, "Etcd"], recordOf(member)["Etcd"]] as const] : []
  )
]

/** Whether a file is one of go-zero's. */
export const isGoZero = (tree: Readonly<Record<string, unknown>>): boolean => blocksOf(tree).length > 0

/** The shape of go-zero's files. */
export const goZeroShape: DeclaredShape = {
  layout: "goZero",
  problems: (tree) => {
    const [first, ...others] = blocksOf(tree)
    const problems: Array<Problem> = []
    for (const [path, block] of blocksOf(tree)) {
      const given = recordOf(block)
      const together = (...names: ReadonlyArray<string>) => {
        const set = names.filter((name) => given[name] !== undefined && given[name] !== "")
        if (set.length === 0 || set.length === names.length) return
        problems.push({
          path: [...path, set[0] ?? ""],
          rule: `it counts only with ${names.filter((name) => !set.includes(name)).join(" and ")} beside it`
        })
      }
      together("User", "Pass")
      together("CertFile", "CertKeyFile", "CACertFile")
    }
    for (const [path, block] of others) {
      if (JSON.stringify(recordOf(block)["Hosts"]) !== JSON.stringify(recordOf(first?.[1])["Hosts"])) {
        problems.push({
          path: [...path, "Hosts"],
          rule: `they must be those of ${first?.[0].join(".")}: a registry speaks to one etcd`
        })
      }
    }
    return problems
  },
  read: (tree, endpoint, decode) => {
    const blocks = blocksOf(tree).map(([path, block]) => decode(Etcd, block, path, "ignore"))
    const listens = "Etcd" in tree && "ListenOn" in tree
    const listenOn = listens ? decode(endpoint, tree["ListenOn"], ["ListenOn"], "ignore") : undefined
    const problems = [
      ...blocks.flatMap((block) => Result.isFailure(block) ? block.failure : []),
      ...(listenOn !== undefined && Result.isFailure(listenOn) ? listenOn.failure : [])
    ]
    const [first, ...others] = blocks.flatMap((block) => Result.isSuccess(block) ? [block.success] : [])
    if (first === undefined || problems.length > 0) return Result.fail(problems)
    const services = listenOn === undefined || Result.isFailure(listenOn) ? [] : [{
      name: first.Key,
      options: {
        ...(first.ID === undefined || first.ID === 0 ? {} : { id: String(first.ID) }),
        endpoints: [listenOn.success] as const,
        ttl: timeToLive
      }
    }]
    const discover = listens ? others : [first, ...others]
    return Result.succeed({ etcd: etcdOf(first), services, discover: discover.map(({ Key }) => Key) })
  }
}

const etcdOf = ({ CACertFile, CertFile, CertKeyFile, Hosts, Pass, User }: typeof Etcd.Type): EtcdGrpcOptions => ({
  endpoints: Hosts,
  ...(User === undefined || User === "" || Pass === undefined ? {} : { username: User, password: Pass }),
  ...(CertFile && CertKeyFile && CACertFile ? { tls: { ca: CACertFile, cert: CertFile, key: CertKeyFile } } : {})
})
