/**
 * Real etcd servers for tests: on free loopback ports, with a data folder of their own, for the lifetime of a scope.
 *
 * A server keeps its ports and its data over restarts. It is always addressed by the pid that was started. When the
 * scope closes it is killed and its folder removed.
 *
 * @module
 */
import { Effect, Exit, Scope } from "effect"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import process from "node:process"
import { after, before, describe } from "node:test"
import { makeProxy, type Proxy } from "./Proxy.ts"
import { attempt, eventually, freePort, get, limitMillis, pause, toError } from "./real.ts"
import { binariesOf, type EtcdBinaries, versions } from "./versions.ts"

export { isBefore, versions } from "./versions.ts"

export interface EtcdOptions {
  /** An exact version or its beginning (`"3.4"`); default: the newest at hand. */
  readonly version?: string
  /** More command line arguments for etcd; they win over the harness's own. */
  readonly args?: ReadonlyArray<string>
  /** Paths of PEM files. The endpoint is then `https://127.0.0.1:…`; with `clientCa`, clients need a certificate. */
  readonly tls?: {
    readonly cert: string
    readonly key: string
    readonly clientCa?: string
    /** A port on which the server also listens without encryption, for an operator. */
    readonly plainPort?: number
  }
}

export interface ClusterOptions extends EtcdOptions {
  /** Puts a proxy in front of each member's peer address, so that members can be cut off from each other. */
  readonly partitions?: boolean
}

export interface EtcdServer {
  readonly name: string
  /** `http://127.0.0.1:PORT`; the same over restarts. */
  readonly endpoint: string
  readonly version: string
  readonly dataDir: string
  /** The process that runs now, or ran last. */
  readonly pid: number
  readonly running: boolean
  /** Sends a signal. A signal that ends the server is followed by waiting for its end. */
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void, Error>
  /** Ends the server in good order (SIGTERM) if it runs. */
  readonly stop: Effect.Effect<void, Error>
  /** Starts the stopped server on its data and ports; completes when it is healthy. */
  readonly start: Effect.Effect<void, Error>
  /** Starts the stopped server without waiting for anything (a member without quorum never becomes healthy). */
  readonly launch: Effect.Effect<void, Error>
  /** Completes when the server answers a linearizable read. */
  readonly healthy: Effect.Effect<void, Error>
  /** Removes the data folder of the stopped server. */
  readonly wipe: Effect.Effect<void, Error>
  /** Writes a snapshot of the running server to a file. */
  readonly snapshot: (file: string) => Effect.Effect<void, Error>
  /** Fills the data folder of the stopped and wiped server from a snapshot. */
  readonly restore: (file: string) => Effect.Effect<void, Error>
  /** SIGSTOP: the server hangs, its connections stay open. */
  readonly pause: Effect.Effect<void, Error>
  /** SIGCONT. */
  readonly resume: Effect.Effect<void, Error>
  /** The text of `/metrics`, read over a listener of its own: it never counts as a client's connection. */
  readonly metrics: Effect.Effect<string, Error>
  /** One number out of `/metrics`: the sum of all samples of that name whose labels contain `labels`; 0 when absent. */
  readonly metric: (name: string, labels?: string) => Effect.Effect<number, Error>
  /** What the server has written since its first start. */
  readonly log: Effect.Effect<string>
}

export interface EtcdCluster {
  /** Those that belong to it now. */
  readonly members: ReadonlyArray<EtcdServer>
  readonly endpoints: ReadonlyArray<string>
  /** The running member that leads; waits until there is one. */
  readonly leader: Effect.Effect<EtcdServer, Error>
  /** Cuts a member off from the others, both ways; clients still reach it. Needs `partitions`. */
  readonly cut: (member: EtcdServer) => Effect.Effect<void, Error>
  /** Ends every cut. */
  readonly mend: Effect.Effect<void>
  /** Removes a member from the cluster and stops it. */
  readonly remove: (member: EtcdServer) => Effect.Effect<void, Error>
  /** A new member, healthy, for the lifetime of the cluster's scope. */
  readonly add: Effect.Effect<EtcdServer, Error>
  /** A server that can start once its peer URL has been added to the cluster, which has these members otherwise. */
  readonly newcomer: (
    others: ReadonlyArray<{ readonly name: string; readonly peerUrls: ReadonlyArray<string> }>
  ) => Effect.Effect<Newcomer, Error>
}

export interface Newcomer {
  readonly server: EtcdServer
  readonly peerUrl: string
}

interface Plan {
  readonly name: string
  readonly binaries: EtcdBinaries
  readonly client: number
  readonly peer: number
  /** In front of the peer address, with `partitions`. */
  readonly peerProxy: Proxy | undefined
  readonly metrics: number
  readonly initialCluster: string
  /** Milliseconds; etcd's own are 100 and 1000. */
  readonly heartbeat: number
  readonly options: EtcdOptions
}

const url = (port: number, scheme = "http") => `${scheme}://127.0.0.1:${port}`

/** Where the other members find this one. */
const peerUrl = ({ peer, peerProxy }: Pick<Plan, "peer" | "peerProxy">) => peerProxy?.endpoint ?? url(peer)

/** Milliseconds after which a probe that has no answer is repeated: the server may hang. */
const probeMillis = 2000

// If the test process ends before its scopes were closed, its servers must not outlive it.
const alive = new Set<number>()
process.on("exit", () => alive.forEach((pid) => signalPid(pid, "SIGKILL")))

const signalPid = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended by itself
  }
}

const argumentsOf = (plan: Plan, dataDir: string): ReadonlyArray<string> => {
  const { binaries, heartbeat, options: { args = [], tls } } = plan
  const scheme = tls === undefined ? "http" : "https"
  const clients = [url(plan.client, scheme), ...(tls?.plainPort === undefined ? [] : [url(tls.plainPort)])]
  return [
    ["--name", plan.name],
    ["--data-dir", dataDir],
    ["--listen-client-urls", clients.join()],
    ["--advertise-client-urls", url(plan.client, scheme)],
    ["--listen-peer-urls", url(plan.peer)],
    ["--initial-advertise-peer-urls", peerUrl(plan)],
    ["--initial-cluster", plan.initialCluster],
    ["--listen-metrics-urls", url(plan.metrics)],
    ["--heartbeat-interval", String(heartbeat)],
    ["--election-timeout", String(heartbeat * 10)],
    ["--log-level", "error"],
    ["--logger", "zap"],
    // Hashing a password with the default cost takes 70 ms of CPU, at each authentication.
    ["--bcrypt-cost", "4"],
    // The page cache outlives a killed process, so tests need no fsync. etcd 3.4 does not know the flag.
    ...(binaries.version.startsWith("3.4.") ? [] : [["--unsafe-no-fsync"]]),
    ...(tls === undefined ? [] : [["--cert-file", tls.cert, "--key-file", tls.key]]),
    ...(tls?.clientCa === undefined ? [] : [["--client-cert-auth", "--trusted-ca-file", tls.clientCa]])
  ].flat().concat(args)
}

/** The server without its first start. */
const make = (plan: Plan): Effect.Effect<EtcdServer, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "etcd-test-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
    )
    const dataDir = join(folder, "data")
    const logFile = join(folder, "log")
    let child: ChildProcess | undefined
    let pid = 0
    let ended: Promise<void> = Promise.resolve()

    const log = Effect.sync(() => {
      try {
        return readFileSync(logFile, "utf8")
      } catch {
        return ""
      }
    })

    const launch = Effect.callback<void, Error>((resume) => {
      if (child !== undefined) return resume(Effect.fail(new Error(`etcd ${plan.name} (pid ${pid}) runs already`)))
      // A file, not a pipe: the server never waits for a reader, and it keeps no runtime awake.
      const output = openSync(logFile, "a")
      const started = spawn(plan.binaries.etcd, argumentsOf(plan, dataDir), {
        cwd: folder,
        stdio: ["ignore", output, output],
        // Settings of the machine's own etcd must not leak in; 3.4 refuses unusual platforms without the variable.
        env: { PATH: process.env["PATH"], ETCD_UNSUPPORTED_ARCH: process.arch }
      })
      closeSync(output)
      child = started
      ended = new Promise((resolve) => {
        const onEnd = () => {
          if (child === started) child = undefined
          alive.delete(started.pid ?? 0)
          resolve()
        }
        started.once("exit", onEnd)
        started.once("error", (error) => {
          onEnd()
          resume(Effect.fail(error))
        })
      })
      started.once("spawn", () => {
        pid = started.pid ?? 0
        alive.add(pid)
        resume(Effect.void)
      })
    })

    const probe = Effect.gen(function* () {
      const answer = yield* get(`${url(plan.metrics)}/health`, probeMillis)
      if (!answer.includes('"true"')) return yield* Effect.fail(new Error(answer))
      if (plan.options.tls !== undefined) return
      // Before the version of a new cluster is decided, etcd answers, but refuses calls that depend on it, such as downgrade.
      const version = yield* get(`${url(plan.client)}/version`, probeMillis)
      if (version.includes("not_decided")) return yield* Effect.fail(new Error(version))
    })
    const healthy = Effect.gen(function* () {
      const outcome = yield* Effect.raceFirst(
        eventually(probe),
        Effect.andThen(attempt(() => ended), Effect.fail(new Error("it ended")))
      ).pipe(Effect.result)
      if (outcome._tag === "Success") return
      const text = yield* log
      return yield* Effect.fail(
        new Error(
          `etcd ${plan.binaries.version} did not become healthy: ${outcome.failure.message}\n${text.slice(-2000)}`
        )
      )
    })

    const waitForEnd = attempt(() => ended)
    const kill = (signal: NodeJS.Signals): Effect.Effect<void, Error> =>
      Effect.gen(function* () {
        if (child === undefined) return yield* Effect.fail(new Error(`etcd ${plan.name} does not run`))
        signalPid(pid, signal)
        if (!["SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT"].includes(signal)) return
        if (signal !== "SIGKILL") signalPid(pid, "SIGCONT") // a paused process would not receive it
        yield* Effect.raceFirst(
          waitForEnd,
          Effect.andThen(pause(limitMillis), Effect.fail(new Error(`etcd (pid ${pid}) still runs after ${signal}`)))
        )
      })

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => child === undefined ? Effect.void : Effect.ignore(kill("SIGKILL")))
    )

    const metrics = get(`${url(plan.metrics)}/metrics`)
    const endpoint = url(plan.client, plan.options.tls === undefined ? "http" : "https")
    const { version } = plan.binaries
    return {
      name: plan.name,
      endpoint,
      version,
      dataDir,
      get pid() {
        return pid
      },
      get running() {
        return child !== undefined
      },
      kill,
      stop: Effect.suspend(() => child === undefined ? Effect.void : kill("SIGTERM")),
      start: Effect.andThen(launch, healthy),
      launch,
      healthy,
      wipe: Effect.suspend(() =>
        child === undefined ?
          Effect.sync(() => rmSync(dataDir, { recursive: true, force: true })) :
          Effect.fail(new Error("stop the server before its data is wiped"))
      ),
      snapshot: (file) => Effect.asVoid(etcdctl({ endpoint, version }, "snapshot", "save", file)),
      restore: (file) =>
        Effect.asVoid(
          runTool(
            plan.binaries.etcdutl ?? plan.binaries.etcdctl,
            ...["snapshot", "restore", file, `--data-dir=${dataDir}`, `--name=${plan.name}`],
            ...[`--initial-cluster=${plan.initialCluster}`, `--initial-advertise-peer-urls=${peerUrl(plan)}`]
          )
        ),
      pause: Effect.andThen(
        kill("SIGSTOP"),
        eventually(Effect.suspend(() => isStopped(pid) ? Effect.void : Effect.fail("a thread still runs")), {
          every: 1
        })
      ),
      resume: kill("SIGCONT"),
      metrics,
      metric: (name: string, labels = "") =>
        Effect.map(metrics, (text) =>
          text.split("\n")
            .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && line.includes(labels))
            .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0)),
      log
    }
  })

/** The ports of a member, and its proxy. Members send their id to each other, which labels their connections. */
const addresses = Effect.fnUntraced(function* (name: string, partitions: boolean) {
  const peer = yield* freePort
  const peerProxy = partitions ?
    yield* makeProxy({ endpoint: url(peer) }, { label: /X-Server-From: ([0-9a-f]+)/i }) :
    undefined
  return { name, client: yield* freePort, peer, peerProxy, metrics: yield* freePort }
})

const plans = (
  size: number,
  heartbeat: number,
  options: ClusterOptions
): Effect.Effect<ReadonlyArray<Plan>, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const binaries = yield* Effect.try({ try: () => binariesOf(options.version), catch: toError })
    const members = yield* Effect.forEach(
      Array.from({ length: size }, (_, index) => `m${index + 1}`),
      (name) => addresses(name, options.partitions === true)
    )
    const initialCluster = members.map((member) => `${member.name}=${peerUrl(member)}`).join(",")
    return members.map((member) => ({ ...member, binaries, initialCluster, heartbeat, options }))
  })

interface Member {
  readonly plan: Plan
  readonly server: EtcdServer
}

/** Starts `size` members. Another process may take a port between our look and etcd's start: then with new ports. */
const startMembers = (
  size: number,
  heartbeat: number,
  options: ClusterOptions
): Effect.Effect<ReadonlyArray<Member>, Error, Scope.Scope> => {
  const attemptOnce = Effect.gen(function* () {
    const outer = yield* Effect.scope
    const scope = yield* Scope.make()
    const started = Effect.gen(function* () {
      const members = yield* Effect.forEach(
        yield* plans(size, heartbeat, options),
        (plan) => Effect.map(make(plan), (server) => ({ plan, server }))
      )
      yield* Effect.forEach(members, ({ server }) => server.launch)
      yield* Effect.forEach(members, ({ server }) => server.healthy, { concurrency: "unbounded" })
      return members
    }).pipe(Scope.provide(scope))
    yield* Scope.addFinalizerExit(outer, (exit) => Scope.close(scope, exit))
    return yield* Effect.onError(started, () => Scope.close(scope, Exit.void))
  })
  return Effect.retry(attemptOnce, { times: 3, while: (error) => error.message.includes("address already in use") })
}

/** One etcd server for the lifetime of the scope, healthy. */
export const startEtcd = (options: EtcdOptions = {}): Effect.Effect<EtcdServer, Error, Scope.Scope> =>
  // Alone, it waits one election before it leads: quick timers make the start quick.
  Effect.flatMap(startMembers(1, 10, options), ([member]) =>
    member === undefined ? Effect.die(new Error("no server")) : Effect.succeed(member.server))

/** `size` members of one cluster for the lifetime of the scope, all healthy. */
export const startCluster = (
  size: number,
  options: ClusterOptions = {}
): Effect.Effect<EtcdCluster, Error, Scope.Scope> =>
  Effect.gen(function* () {
    // On two busy cores, timers that are too quick would elect a new leader in the middle of a test.
    const heartbeat = 100
    let members = yield* startMembers(size, heartbeat, options)
    let names = size
    const scope = yield* Effect.scope

    const idOf = (member: EtcdServer) =>
      Effect.flatMap(etcdctl(member, "endpoint", "status", "-w", "json"), (json) => {
        const id = /"member_id":(\d+)/.exec(json)?.[1]
        return id === undefined ? Effect.fail(new Error(json)) : Effect.succeed(BigInt(id).toString(16))
      })
    const planOf = (member: EtcdServer) => {
      const found = members.find(({ server }) => server === member)
      return found === undefined ? Effect.fail(new Error(`${member.name} is no member`)) : Effect.succeed(found.plan)
    }
    const anotherThan = (member: EtcdServer) => {
      const found = members.find(({ server }) => server !== member && server.running)
      return found === undefined ? Effect.fail(new Error("no other member runs")) : Effect.succeed(found.server)
    }

    const newMember = (others: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const [first] = members
        if (first === undefined) return yield* Effect.fail(new Error("a cluster without members"))
        const address = yield* addresses(`m${++names}`, options.partitions === true)
        const { binaries, options: { args = [] } } = first.plan
        const plan: Plan = {
          ...address,
          binaries,
          heartbeat,
          initialCluster: [...others, `${address.name}=${peerUrl(address)}`].join(","),
          options: { ...options, args: [...args, "--initial-cluster-state=existing"] }
        }
        return { plan, server: yield* make(plan) }
      }).pipe(Scope.provide(scope))

    return {
      get members() {
        return members.map(({ server }) => server)
      },
      get endpoints() {
        return members.map(({ server }) => server.endpoint)
      },
      leader: eventually(Effect.gen(function* () {
        for (const { server } of members) {
          if (!server.running) continue
          const leads = yield* Effect.raceFirst(
            Effect.orElseSucceed(server.metric("etcd_server_is_leader"), () => 0),
            Effect.as(pause(probeMillis), 0)
          )
          if (leads === 1) return server
        }
        return yield* Effect.fail(new Error("no member leads"))
      })),
      cut: (member) =>
        Effect.gen(function* () {
          const { peerProxy } = yield* planOf(member)
          if (peerProxy === undefined) {
            return yield* Effect.fail(new Error("the cluster was started without partitions"))
          }
          const id = yield* idOf(member)
          for (const { plan } of members) yield* plan.peerProxy?.blackholeOf(id) ?? Effect.void
          yield* peerProxy.blackhole()
        }),
      mend: Effect.suspend(() =>
        Effect.forEach(members, ({ plan }) => plan.peerProxy?.heal ?? Effect.void, { discard: true })
      ),
      remove: (member) =>
        Effect.gen(function* () {
          yield* planOf(member)
          const id = yield* idOf(member)
          yield* etcdctl(yield* anotherThan(member), "member", "remove", id)
          members = members.filter(({ server }) => server !== member)
          yield* member.stop
        }),
      add: Effect.gen(function* () {
        const { plan, server } = yield* newMember(members.map(({ plan }) => `${plan.name}=${peerUrl(plan)}`))
        const known = members.find((member) => member.server.running)?.server ?? server
        // Refused while the cluster does not count itself healthy, for up to 5 seconds after a change.
        yield* eventually(etcdctl(known, "member", "add", plan.name, `--peer-urls=${peerUrl(plan)}`), { every: 200 })
        yield* server.start
        members = [...members, { plan, server }]
        return server
      }),
      newcomer: (others) =>
        Effect.map(
          newMember(others.map(({ name, peerUrls }) => `${name}=${peerUrls[0]}`)),
          ({ plan, server }) => ({ server, peerUrl: peerUrl(plan) })
        )
    }
  })

/**
 * Runs the real `etcdctl` of the server's version against it; its standard output.
 *
 * Its own limits, 2 seconds to connect and 5 seconds for a command, are too short for a busy machine.
 */
export const etcdctl = (
  server: Pick<EtcdServer, "endpoint" | "version">,
  ...args: ReadonlyArray<string>
): Effect.Effect<string, Error> =>
  runTool(
    binariesOf(server.version).etcdctl,
    ...[`--endpoints=${server.endpoint}`, "--dial-timeout=1m", "--command-timeout=1m"],
    ...args
  )

/** Whether every thread has stopped: after SIGSTOP that takes a moment. Unknown, and true, without `/proc`. */
const isStopped = (pid: number): boolean => {
  const threads = `/proc/${pid}/task`
  return !existsSync(threads) || readdirSync(threads).every((thread) => {
    const stat = readFileSync(join(threads, thread, "stat"), "utf8")
    return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T")
  })
}

/** Runs `etcdctl` or `etcdutl`; its standard output. */
const runTool = (file: string, ...args: ReadonlyArray<string>): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    const child = execFile(
      file,
      args,
      { env: { PATH: process.env["PATH"], ETCDCTL_API: "3" }, maxBuffer: 256 * 1024 * 1024 },
      (error, stdout, stderr) =>
        resume(
          error === null ?
            Effect.succeed(stdout) :
            Effect.fail(new Error(`${basename(file)} ${args.join(" ")}: ${stderr || error.message}`))
        )
    )
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  })

/** Declares the same tests for every etcd version at hand. */
export const eachEtcd = (declare: (version: string) => void): void => {
  for (const version of versions) describe(`etcd ${version}`, () => declare(version))
}

/**
 * Declares the same tests for every etcd version at hand, on one server per version that all of them share. Call
 * `etcd()` inside a test: the server does not exist before.
 */
export const eachSharedEtcd = (
  declare: (etcd: () => EtcdServer, version: string) => void,
  options: Omit<EtcdOptions, "version"> = {}
): void =>
  eachEtcd((version) => {
    const scope = Effect.runSync(Scope.make())
    let server: EtcdServer | undefined
    before(async () => {
      server = await Effect.runPromise(startEtcd({ ...options, version }).pipe(Scope.provide(scope)))
    })
    after(() => Effect.runPromise(Scope.close(scope, Exit.void)))
    declare(() => {
      if (server === undefined) throw new Error("the shared etcd exists only while tests run")
      return server
    }, version)
  })
