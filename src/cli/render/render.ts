/**
 * Keeping a file equal to sets of instances.
 *
 * @module
 */
import { Console, type Duration, Effect, Queue, type Result, Stream } from "effect"
import { runShell } from "../../declared/health/shell.ts"
import { checkOptions, type InvalidOption } from "../../internal/options.ts"
import { formatDuration } from "../../internal/time/format.ts"
import { discover } from "../../registry/discover.ts"
import type { DiscoveryError } from "../../registry/discovery/DiscoveryError.ts"
import { getInstances } from "../../registry/getInstances.ts"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import type { Registry } from "../../registry/Registry.ts"
import { EmptyService, ReloadFailed, RenderFailed } from "./errors.ts"
import type { Format, Prepared } from "./Format.ts"
import { awaitQuiet, parseWait, type Wait } from "./quiescence.ts"
import { replaceFile } from "./replaceFile.ts"

/** What is rendered, and where. */
export interface RenderOptions {
  readonly services: ReadonlyArray<string>
  readonly format: Format
  /** The file. `undefined` prints the text instead. */
  readonly output: string | undefined
  /** The mode of a new file. Default: 0o644. */
  readonly mode?: number
  /**
   * What to do while a service has no instance to write. `"keep"` writes the last ones, and nothing before there was
   * one. `"fail"` ends. Default: `"keep"`.
   */
  readonly onEmpty?: "keep" | "write" | "fail"
  /** `min:max`: wait until nothing has changed for `min`, at most `max`. Default: `200 millis:2 seconds`. */
  readonly wait?: string
  /** A command that must accept the staged file, whose path is in `FILE`. */
  readonly check?: string
  /** A command that runs after the file was replaced. Its path is in `FILE`. */
  readonly reload?: string
  /** How long one of these commands may take. Default: 30 seconds. */
  readonly commandTimeout?: Duration.Input
}

/** The options, checked. */
export interface RenderPlan extends Omit<RenderOptions, "wait" | "commandTimeout" | "onEmpty"> {
  readonly onEmpty: "keep" | "write" | "fail"
  readonly wait: Wait
  readonly commandTimeout: Duration.Duration
}

/** Checks the options before anything is read or written. */
export const plan = (options: RenderOptions): Result.Result<RenderPlan, InvalidOption> =>
  checkOptions("render", (check) => {
    const { commandTimeout = "30 seconds", format, onEmpty = "keep", services, wait = "200 millis:2 seconds" } = options
    if (services.length === 0) check.refuse("services", services, "it must name at least one service")
    if (new Set(services).size < services.length) check.refuse("services", services, "it must not name a service twice")
    check.valid("services", services, format.checkNames(services))
    return {
      ...options,
      onEmpty: check.oneOf("onEmpty", onEmpty, ["keep", "write", "fail"]),
      wait: check.valid("wait", wait, parseWait(wait)),
      commandTimeout: check.duration("commandTimeout", commandTimeout)
    }
  })

/** Runs a command of the user on a file. Fails with what is wrong. */
const runOn = (file: string, command: string, timeout: Duration.Duration): Effect.Effect<void, string> =>
  runShell(command, { FILE: file }).pipe(
    Effect.mapError(({ message }) => message),
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => Effect.fail(`it did not end within ${formatDuration(timeout)}`)
    }),
    Effect.flatMap(({ output, status }) =>
      status === 0 ?
        Effect.void :
        Effect.fail(`${typeof status === "number" ? `exit code ${status}` : status}${output && `: ${output}`}`)
    )
  )

/** Runs the check command on the staged file. */
const checkWith =
  (command: string, timeout: Duration.Duration) => (staged: string): Effect.Effect<void, RenderFailed> =>
    Effect.mapError(
      runOn(staged, command, timeout),
      (detail) => new RenderFailed({ message: `the check command failed: ${detail}` })
    )

type Failure = RenderFailed | ReloadFailed | EmptyService

/** Writes sets to the file. It remembers what is due from one time to the next. */
const makeWriter = (plan: RenderPlan) => {
  const { check, commandTimeout, format, mode, onEmpty, output, reload } = plan
  const lastWithInstances = new Map<string, Prepared>()
  let lastWarning = ""
  let isReloadDue = false

  const warn = (text: string) =>
    Effect.suspend(() => {
      const isNew = text !== "" && text !== lastWarning
      lastWarning = text
      return isNew ? Effect.logWarning(text) : Effect.void
    })

  /** The services as `onEmpty` wants them, or `undefined` if nothing may be written. */
  const select = Effect.fnUntraced(function* (sets: ReadonlyArray<readonly [string, InstanceSet]>) {
    const services = sets.map(([name, set]) => format.prepare(name, set))
    const empty = services.filter(({ isEmpty }) => isEmpty).map(({ name }) => name)
    const warnings = services.flatMap(({ name, skipped }) =>
      skipped.length === 0 ? [] : [`left out of ${JSON.stringify(name)}: ${skipped.slice(0, 10).join(", ")}`]
    )
    if (empty.length > 0 && onEmpty === "keep") {
      warnings.push(`no instance of ${empty.join(", ")}: the last ones are kept`)
    }
    yield* warn(warnings.join("; "))
    const [first] = empty
    if (first !== undefined && onEmpty === "fail") return yield* new EmptyService({ name: first })
    if (onEmpty === "write") return services
    for (const service of services) if (!service.isEmpty) lastWithInstances.set(service.name, service)
    const kept = services.map((service) => lastWithInstances.get(service.name) ?? service)
    return kept.some(({ isEmpty }) => isEmpty) ? undefined : kept
  })

  return Effect.fnUntraced(function* (
    sets: ReadonlyArray<readonly [string, InstanceSet]>
  ): Effect.fn.Return<void, Failure> {
    const services = yield* select(sets)
    if (services === undefined) return
    const text = yield* format.join(services)
    if (output === undefined) return yield* Console.log(text.replace(/\n$/, ""))
    const isWritten = yield* replaceFile({
      path: output,
      text,
      ...(mode === undefined ? {} : { mode }),
      ...(check === undefined ? {} : { check: checkWith(check, commandTimeout) })
    })
    if (isWritten) yield* Effect.logInfo(`wrote ${JSON.stringify(output)}`)
    isReloadDue ||= isWritten
    if (!isReloadDue) return
    if (reload !== undefined) {
      yield* Effect.mapError(
        runOn(output, reload, commandTimeout),
        (detail) => new ReloadFailed({ message: `the reload command failed: ${detail}` })
      )
    }
    isReloadDue = false
  })
}

/** Reads the services once, and writes the file. */
export const once = (plan: RenderPlan): Effect.Effect<void, DiscoveryError | Failure, Registry> =>
  Effect.forEach(
    plan.services,
    (name) => Effect.map(getInstances(name), (set) => [name, set] as const),
    { concurrency: "unbounded" }
  ).pipe(Effect.flatMap(makeWriter(plan)))

/** The first and the longest wait before a failed attempt is repeated. */
const retryMillis = { first: 1000, longest: 60_000 } as const

/**
 * Writes the file whenever a set changes, until it is interrupted.
 *
 * **Details**
 *
 * Nothing is written before the sets of all services are known. While etcd does not answer, the file stays. Fails if the
 * first text cannot be rendered, checked or written. A later failure is logged, leaves the old file in place, and the
 * attempt is repeated with the next change, at the latest after a minute. A reload that fails is repeated in the same
 * way, also the first.
 */
export const follow = (
  plan: RenderPlan
): Effect.Effect<never, DiscoveryError | Failure, Registry> =>
  Effect.scoped(Effect.gen(function* () {
    const sets = new Map<string, InstanceSet>()
    const changes = yield* Queue.sliding<void>(1)
    const follows = Effect.forEach(
      plan.services,
      (name) =>
        Stream.runForEach(discover(name), (set) => {
          sets.set(name, set)
          return sets.size < plan.services.length ? Effect.void : Queue.offer(changes, undefined)
        }),
      { concurrency: "unbounded", discard: true }
    )
    const write = makeWriter(plan)
    const current = () =>
      plan.services.flatMap((name) => {
        const set = sets.get(name)
        return set === undefined ? [] : [[name, set] as const]
      })
    const log = ({ message }: Error) => Effect.as(Effect.logError(message), true)
    const loop = Effect.gen(function* () {
      let isFirst = true
      let retryAfter: number | undefined
      while (true) {
        const quiet = awaitQuiet(changes, plan.wait)
        yield* retryAfter === undefined ? quiet : Effect.timeoutOption(quiet, retryAfter)
        const hasFailed = yield* Effect.as(write(current()), false).pipe(
          Effect.catchTag("ReloadFailed", log),
          Effect.catchTag("RenderFailed", (error) => isFirst ? Effect.fail(error) : log(error))
        )
        isFirst = false
        retryAfter = hasFailed ? Math.min((retryAfter ?? retryMillis.first / 2) * 2, retryMillis.longest) : undefined
      }
    })
    return yield* Effect.raceFirst(loop, Effect.andThen(follows, Effect.never))
  }))
