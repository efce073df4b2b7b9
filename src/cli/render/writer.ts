/**
 * Writes sets to the file: handles empty sets, the check and the reload.
 *
 * @module
 */
import { Console, type Duration, Effect } from "effect"
import { runShell } from "../../declared/health/shell.ts"
import { formatDuration } from "../../internal/time/format.ts"
import type { InstanceSet } from "../../registry/model/InstanceSet.ts"
import { EmptyService, ReloadFailed, RenderFailed } from "./errors.ts"
import type { Prepared } from "./Format.ts"
import type { RenderPlan } from "./plan.ts"
import { replaceFile } from "./replaceFile.ts"

/** Runs a user's command on a file. Fails with the reason as text. */
const runOn = (file: string, command: string, timeout: Duration.Duration): Effect.Effect<void, string> =>
  Effect.timeoutOrElse(runShell(command, { FILE: file }), {
    duration: timeout,
    orElse: () => Effect.fail(`it did not finish within ${formatDuration(timeout)}`)
  })

/** Runs the check command on the staged file. */
const checkWith =
  (command: string, timeout: Duration.Duration) => (staged: string): Effect.Effect<void, RenderFailed> =>
    Effect.mapError(
      runOn(staged, command, timeout),
      (detail) => new RenderFailed({ message: `the check command failed: ${detail}` })
    )

/** Why the file was not written, or its readers were not reloaded. */
export type Failure = RenderFailed | ReloadFailed | EmptyService

/**
 * Returns a function that writes sets to the file. It remembers the last instances, and whether a reload is pending.
 */
export const makeWriter = (plan: RenderPlan) => {
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

  /** Applies `onEmpty`. Returns `undefined` if nothing may be written. */
  const select = Effect.fnUntraced(function* (sets: ReadonlyArray<readonly [string, InstanceSet]>) {
    const services = sets.map(([name, set]) => format.prepare(name, set))
    const empty = services.filter(({ isEmpty }) => isEmpty).map(({ name }) => name)
    const warnings = services.flatMap(({ name, skipped }) =>
      skipped.length === 0 ? [] : [`omitted from ${JSON.stringify(name)}: ${skipped.slice(0, 10).join(", ")}`]
    )
    if (empty.length > 0 && onEmpty === "keep") {
      warnings.push(`no instances of ${empty.join(", ")}; keeping the last ones`)
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
