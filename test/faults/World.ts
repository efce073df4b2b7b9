/**
 * The rig: etcd servers with a proxy in front of each, the operator, clients under test, and a recorder of everything
 * that happens.
 *
 * @module
 */
import { Effect, Exit, FiberSet, Scope } from "effect"
import { type EtcdCluster, type EtcdServer, startCluster, startEtcd } from "../harness/EtcdServer.ts"
import { type Front, type FrontKind, startFront } from "../harness/Front.ts"
import { makeProxy, type Proxy } from "../harness/Proxy.ts"
import { type Program, runProgram } from "../harness/program.ts"
import { eventually, pause } from "../harness/real.ts"
import { type Certificates, makeCertificates } from "./certificates.ts"
import { type Promised, read } from "./check.ts"
import { type Call, fromLine, type Happened, now, Recorder } from "./History.ts"
import { makeOperator, type Operator } from "./Operator.ts"
import { makeProcess, mended, type Process } from "./Process.ts"
import { type ConnectOptions, type Failed, type SubjectName, subjects } from "./Subject.ts"
import { makeTruth, type Truth } from "./Truth.ts"

export interface WorldOptions {
  readonly subject: SubjectName
  /** Members; default 1. Several members also have proxies between them. */
  readonly members?: number
  readonly args?: ReadonlyArray<string>
  /** Stands between the proxy and the only server. */
  readonly front?: FrontKind
  /** Clients and the only server authenticate each other with certificates. */
  readonly tls?: boolean
  /** Seconds; default 2. */
  readonly ttl?: number
  /** Milliseconds until a silent watch is detected; default 2000. */
  readonly silence?: number
  readonly promised?: Partial<Promised>
}

/** A server and its proxy. */
export interface Member {
  readonly server: EtcdServer
  readonly proxy: Proxy
}

export interface FaultKind {
  readonly cuts?: boolean
  readonly freezes?: boolean
  readonly refuses?: boolean
}

export interface World {
  readonly recorder: Recorder
  readonly promised: Promised
  readonly operator: Operator
  readonly truth: Truth
  readonly members: ReadonlyArray<Member>
  readonly cluster: EtcdCluster
  readonly front: Front | undefined
  readonly certificates: Certificates | undefined
  /** The first member. */
  readonly server: EtcdServer
  readonly proxy: Proxy
  readonly processes: ReadonlyArray<Process>
  readonly service: string
  readonly ttl: number
  /** A new client under test, through the proxies; `only` limits it to some members. */
  readonly connect: (
    name: string,
    options?: { readonly only?: ReadonlyArray<Member> } & Partial<ConnectOptions>
  ) => Effect.Effect<Process, Failed>
  /** A client under test in its own process, with registrations and subscriptions. */
  readonly spawn: (name: string, registrations: number) => Effect.Effect<Spawned, Error>
  /** Records a fault from its beginning to its end. */
  readonly during: <E1, E2, E3, R = never>(
    name: string,
    kind: FaultKind,
    begin: Effect.Effect<unknown, E1>,
    meanwhile: Effect.Effect<unknown, E2, R>,
    heal: Effect.Effect<unknown, E3>
  ) => Effect.Effect<void, E1 | E2 | E3, R>
  /** Runs the operator's writes and records them as such. */
  readonly operate: (write: Effect.Effect<bigint, Error>) => Effect.Effect<void, Error>
  /** Sets the content of the operator's own instance. */
  readonly value: (id: string, owner: string, round: number) => string
  /** Waits until the operator has changed its own instance, with a write that began after this call. */
  readonly moved: Effect.Effect<void, Error>
  /** The operator avoids these members from now on. */
  readonly avoid: (...servers: ReadonlyArray<EtcdServer>) => Effect.Effect<void>
  /** Compacts everything that the truth has recorded. */
  readonly compact: Effect.Effect<void, Error>
  /**
   * Begins another life of the server: disconnects the clients, records everything, runs `change` while the server is
   * down, and `unseen` before clients may connect again.
   */
  readonly replace: (
    change: Effect.Effect<unknown, Error>,
    unseen?: Effect.Effect<unknown, Error>
  ) => Effect.Effect<void, Error>
  /** Replaces a member: its proxy leads to the new one. */
  readonly substitute: (old: EtcdServer, fresh: EtcdServer) => Effect.Effect<void>
  /** Waits until all subscribers have converged and all registrants are in etcd; false after a timeout. */
  readonly converged: (milliseconds: number) => Effect.Effect<boolean>
  /** Waits until no registration and no update is in progress. */
  readonly settled: Effect.Effect<void>
  /** Repeats an effect until the world comes to rest. */
  readonly load: (effect: Effect.Effect<unknown>) => Effect.Effect<void>
  /** Ends the operator's writes and every load. */
  readonly rest: Effect.Effect<void>
  /** Ends the run: waits for quiet, releases and closes everything, and records what remains. */
  readonly end: Effect.Effect<void, Error>
}

export interface Spawned {
  readonly program: Program
  readonly close: Effect.Effect<void, Error>
}

let worlds = 0

/** TTL of the operator's own lease, in seconds. It has no heartbeats. */
const long = 3600

/** The lease of the world's own key. With an id of etcd's, a grant whose answer is lost would leave another lease. */
const ownLease = 1n

/** Makes a world until the scope closes. The operator's own instance changes five times per second. */
export const makeWorld = Effect.fnUntraced(function* (
  options: WorldOptions
): Effect.fn.Return<World, Error, Scope.Scope> {
  const { silence = 2000, subject, ttl = 2 } = options
  const service = "orders"
  const namespace = `/world-${++worlds}`
  const progressEvery = silence / 2
  const progressTimeout = silence / 2
  const promised: Promised = {
    namespace,
    ttl: ttl * 1000,
    silence,
    // One backoff step (5 s), an attempt that hangs (1 s to connect and 1 s for the answer), and one silence.
    within: 5000 + 2000 + silence,
    // `releaseTimeout`, a pending grant, and a client that closes.
    release: 2000 + 1000 + 1000,
    // Two cores, many processes.
    slack: 4000,
    ...options.promised
  }
  const recorder = new Recorder()
  const args = options.args ?? []
  const single = options.members === undefined || options.members === 1
  const certificates = options.tls === true ? yield* makeCertificates : undefined
  const cluster: EtcdCluster = single ?
    oneServer(yield* startEtcd({ args, ...(certificates === undefined ? {} : { tls: certificates.server }) })) :
    yield* startCluster(options.members ?? 3, { args, partitions: true })
  const front = options.front === undefined || cluster.members[0] === undefined ?
    undefined :
    yield* startFront(options.front, cluster.members[0])
  const members: ReadonlyArray<Member> = yield* Effect.forEach(
    cluster.members,
    (server) => Effect.map(makeProxy(front ?? server), (proxy) => ({ server, proxy }))
  )
  const [first] = members
  if (first === undefined) return yield* Effect.fail(new Error("no members"))

  let avoided = new Set<EtcdServer>()
  const asked = () => {
    if (certificates !== undefined) return certificates.plainEndpoint
    const running = cluster.members.filter((server) => server.running)
    return (running.find((server) => !avoided.has(server)) ?? running[0] ?? first.server).endpoint
  }
  const operator = makeOperator(asked)
  const truth = yield* makeTruth(recorder, operator, namespace)

  const processes: Array<Process> = []
  // The current state, for the functions that wait.
  const current = { owners: new Map<string, string>(), contents: new Map<string, Map<string, string>>() }
  const subscribers = new Map<
    string,
    { readonly service: string; live: boolean; contents: () => ReadonlyMap<string, string> }
  >()
  const registrants = new Map<string, string>()
  let pending = 0
  const note = (happened: Happened): void => {
    if (happened._tag === "Replaced") {
      current.owners.clear()
      current.contents.clear()
    } else if (happened._tag === "Wrote") {
      const [name = "", id = ""] = happened.key.slice(namespace.length + 1).split("/")
      const known = current.contents.get(name) ?? new Map<string, string>()
      current.contents.set(name, known)
      const { content, owner } = read({ name, id, lease: happened.lease, text: happened.value })
      if (content === undefined) known.delete(id)
      else known.set(id, content)
      if (owner === undefined) current.owners.delete(happened.key)
      else current.owners.set(happened.key, owner)
    } else if (happened._tag === "Subscribed") {
      subscribers.set(happened.subscriber, { service: happened.service, live: false, contents: () => new Map() })
    } else if (happened._tag === "Emitted") {
      const known = subscribers.get(happened.subscriber)
      if (known === undefined) return
      known.live = happened.set.live
      known.contents = () => happened.set.contents
    } else if (happened._tag === "Changed") {
      const known = subscribers.get(happened.subscriber)
      if (known === undefined) return
      known.live = true
      const contents = new Map(known.contents())
      if (happened.change === "Removed") contents.delete(happened.id)
      else contents.set(happened.id, happened.content)
      known.contents = () => contents
    } else if (happened._tag === "Ended") {
      const known = subscribers.get(happened.subscriber)
      if (known !== undefined) known.live = false
    } else if (happened._tag === "Unsubscribed") {
      subscribers.delete(happened.subscriber)
    } else if (happened._tag === "Called") {
      pending++
      if (begins(happened.call)) registrants.set(happened.registrant, happened.key)
      if (happened.call === "release") registrants.delete(happened.registrant)
    } else if (happened._tag === "Returned") {
      pending--
      if (begins(happened.call) && happened.failure !== undefined) registrants.delete(happened.registrant)
    } else if (happened._tag === "Status" && (happened.status === "Superseded" || happened.status === "Failed")) {
      registrants.delete(happened.registrant)
    }
  }
  recorder.listen(note)

  const isSettled = (): boolean => {
    for (const { contents, live, service } of subscribers.values()) {
      if (!live) return false
      const [shown, wanted] = [contents(), current.contents.get(service) ?? new Map()]
      if (shown.size !== wanted.size) return false
      for (const [id, content] of wanted) if (shown.get(id) !== content) return false
    }
    for (const [name, key] of registrants) if (current.owners.get(key) !== name) return false
    return true
  }

  const connectOptions = (only: ReadonlyArray<Member>): ConnectOptions => ({
    endpoints: only.map(({ proxy }) => proxy.endpoint),
    namespace,
    progressEvery,
    progressTimeout,
    reconcileEvery: 1000,
    ...(certificates === undefined ? {} : { tls: certificates.client })
  })

  const connect: World["connect"] = Effect.fnUntraced(function* (name, { only = members, ...more } = {}) {
    const scope = yield* Scope.make()
    const client = yield* subjects[subject]({ ...connectOptions(only), ...more }).pipe(Scope.provide(scope))
    const process = makeProcess({ recorder, name, client, scope, namespace, service, ttl })
    processes.push(process)
    return process
  })

  // Nothing runs after the test, whatever it did.
  yield* Effect.addFinalizer(() => Effect.forEach([...processes], ({ close }) => close, { concurrency: "unbounded" }))

  const operate: World["operate"] = (write) =>
    Effect.flatMap(
      write,
      (revision) => Effect.sync(() => recorder.add({ _tag: "Operated", epoch: truth.epoch, revision }))
    )

  const value = (id: string, owner: string, round: number) =>
    JSON.stringify({
      id,
      name: service,
      endpoints: [`http://${owner}:1`],
      metadata: { owner, round: String(round) },
      weight: 1,
      status: "up"
    })

  // The truth changes even if clients are disconnected.
  let isGranted = false
  let round = 0
  let moves = 0
  const outside = `${namespace}/${service}/outside`
  const move = Effect.gen(function* () {
    if (!isGranted) yield* operator.grant(long, ownLease)
    isGranted = true
    yield* operate(operator.put(outside, value("outside", "outside", ++round), ownLease))
    moves++
  }).pipe(Effect.catch((error) =>
    Effect.sync(() => {
      if (error.message.includes("lease already exists")) isGranted = true
      if (error.message.includes("lease not found")) isGranted = false
    })
  ))
  // The first write after the call may have begun before it.
  const moved = Effect.suspend(() => {
    const enough = moves + 2
    return eventually(Effect.suspend(() => moves >= enough ? Effect.void : Effect.fail("not yet")))
  })
  const loads = yield* FiberSet.make()
  let resting = false
  const load: World["load"] = (effect) =>
    Effect.asVoid(FiberSet.run(loads, Effect.repeat(effect, { until: () => resting })))
  /** No change follows a fault, so a client that missed one during the fault does not recover by chance. */
  let moving = true
  yield* load(Effect.andThen(Effect.suspend(() => moving ? move : Effect.void), pause(200)))

  let faults = 0
  const during: World["during"] = (name, { cuts = false, freezes = false, refuses = false }, begin, meanwhile, heal) =>
    Effect.suspend(() => {
      const fault = ++faults
      moving = true
      recorder.add({ _tag: "FaultBegan", fault, name, cuts, freezes, refuses })
      return begin.pipe(
        Effect.andThen(meanwhile),
        Effect.andThen(Effect.sync(() => {
          moving = false
        })),
        Effect.andThen(heal),
        Effect.andThen(Effect.sync(() => recorder.add({ _tag: "FaultHealed", fault })))
      )
    })

  // Do not interrupt pending calls: an interrupted update might still be applied later.
  const rest = Effect.suspend(() => {
    resting = true
    return Effect.andThen(
      Effect.timeoutOption(FiberSet.awaitEmpty(loads), promised.within + promised.slack),
      FiberSet.clear(loads)
    )
  })

  const converged: World["converged"] = (milliseconds) =>
    eventually(Effect.suspend(() => isSettled() ? Effect.succeed(true) : Effect.fail("not yet")), {
      limit: milliseconds,
      every: 50
    }).pipe(Effect.orElseSucceed(() => false))

  const leftOver = Effect.gen(function* () {
    const { found } = yield* operator.read(`${namespace}/`)
    const leases = yield* operator.leases
    return {
      keys: found.map(({ key }) => key).filter((key) => key !== outside),
      leases: leases.filter((lease) => lease !== ownLease).map((lease) => lease.toString(16))
    }
  })

  const programs = new Set<Program>()
  let questions = 0
  /** Waits until everything that a client in its own process has recorded so far is in the history. */
  const heard = (program: Program) => {
    const question = `question-${++questions}`
    return Effect.andThen(program.send(question), program.awaitLine(`${question} done`))
  }

  /**
   * Records the moment at which everything has converged and after which nothing happened while etcd and every process
   * answered. A look alone is not enough: a lease that is about to expire when the fault ends is deleted a moment later.
   * After a timeout the present is recorded.
   */
  const quiet = Effect.fnUntraced(function* (milliseconds: number) {
    const moment = yield* eventually(
      Effect.gen(function* () {
        const [moment, length] = [now(), recorder.length]
        if (!isSettled()) return yield* Effect.fail("not yet")
        yield* truth.catchUp
        yield* Effect.forEach(programs, heard)
        return recorder.length === length ? moment : yield* Effect.fail("not yet")
      }),
      { limit: milliseconds, every: 50 }
    ).pipe(Effect.catch(() => Effect.map(truth.catchUp, now)))
    recorder.add({ _tag: "Quiet" }, moment)
  })

  const end: World["end"] = Effect.gen(function* () {
    yield* rest
    yield* truth.catchUp
    yield* quiet(promised.within + promised.slack)
    const [watching, registering] = [processes.slice(0, 1), processes.slice(1)]
    // The registrants leave while one subscriber is still there.
    yield* Effect.forEach(registering, ({ close }) => close, { concurrency: "unbounded" })
    yield* eventually(truth.catchUp)
    yield* quiet(promised.slack)
    yield* Effect.forEach(watching, ({ close }) => close)
    const patience = 2 * promised.ttl + promised.slack
    const left = yield* eventually(
      Effect.flatMap(
        leftOver,
        (left) => left.keys.length + left.leases.length === 0 ? Effect.succeed(left) : Effect.fail(left)
      ),
      { limit: patience, every: 100 }
    ).pipe(Effect.catch(() => leftOver))
    recorder.add({ _tag: "Left", ...left })
    recorder.add({ _tag: "Mended", count: yield* mended })
    if (truth.problems.length > 0) return yield* Effect.fail(new Error(`no oracle: ${truth.problems.join("; ")}`))
  })

  const targets = new Map(members.map((member) => [member.server, member]))
  return {
    recorder,
    promised,
    operator,
    truth,
    members,
    cluster,
    front,
    certificates,
    server: first.server,
    proxy: first.proxy,
    processes,
    service,
    ttl,
    connect,
    spawn: Effect.fnUntraced(function* (name, registrations) {
      const scope = yield* Scope.make()
      const program = yield* runProgram({
        file: new URL("./programs/client.ts", import.meta.url),
        env: {
          SUBJECT: subject,
          NAME: name,
          SERVICE: service,
          TTL: String(ttl),
          REGISTRATIONS: String(registrations),
          CONNECT: JSON.stringify(connectOptions(members))
        }
      }).pipe(Scope.provide(scope))
      program.onLine(({ from, text }) => {
        if (from !== "stdout" || !text.startsWith("{")) return
        const { at, ...happened } = fromLine(text)
        recorder.add(happened, at)
      })
      yield* program.awaitLine("ready")
      programs.add(program)
      const close = Effect.gen(function* () {
        programs.delete(program)
        yield* program.endInput
        yield* Effect.raceFirst(program.exit, Effect.andThen(pause(20_000), program.signal("SIGKILL")))
        yield* Scope.close(scope, Exit.void)
      })
      processes.push({
        name,
        close: Effect.ignore(close),
        register: () => Effect.fail({ _tag: "NotHere" }),
        subscribe: () => Effect.succeed(Effect.void),
        follow: () => Effect.succeed(Effect.void)
      })
      return { program, close }
    }),
    during,
    operate,
    value,
    moved,
    avoid: (...servers) =>
      Effect.suspend(() => {
        avoided = new Set(servers)
        return truth.reconnect
      }),
    compact: Effect.suspend(() => truth.revision > 1n ? operator.compact(truth.revision) : Effect.void),
    replace: Effect.fnUntraced(function* (change, unseen = Effect.void) {
      yield* first.proxy.refuse
      yield* first.proxy.reset
      yield* truth.catchUp
      yield* first.server.kill("SIGKILL")
      yield* truth.replaced
      yield* change
      yield* first.server.start
      yield* unseen
      yield* first.proxy.accept
    }),
    substitute: (old, fresh) =>
      Effect.suspend(() => {
        const member = targets.get(old)
        if (member === undefined) return Effect.void
        targets.delete(old)
        targets.set(fresh, member)
        return member.proxy.retarget(fresh.endpoint)
      }),
    converged,
    settled: Effect.ignore(
      eventually(Effect.suspend(() => pending === 0 ? Effect.void : Effect.fail("not yet")), {
        limit: promised.within + promised.slack
      })
    ),
    load,
    rest,
    end
  }
})

const begins = (call: Call): boolean => call === "register" || call === "start"

const oneServer = (server: EtcdServer): EtcdCluster => {
  const none = Effect.fail(new Error("there is one server only"))
  return {
    members: [server],
    endpoints: [server.endpoint],
    leader: Effect.succeed(server),
    cut: () => none,
    mend: Effect.void,
    remove: () => none,
    add: none,
    newcomer: () => none
  }
}
