/**
 * Runs a child and registers its service while the child is healthy. `phase.ts` has the state machine.
 *
 * @module
 */
import { Duration, Effect, Exit, Fiber, Queue, Result, Schedule, Scope, Stream } from "effect"
import { check as checkHealth, defaultInterval, type Probe } from "../../declared/health/Probe.ts"
import { checkOptions, type InvalidOption } from "../../internal/options.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import type { Keyspace } from "../../registry/model/Keyspace.ts"
import * as Service from "../../registry/model/Service.ts"
import { plan as planRegistration, type RegisterOptions } from "../../registry/registration/RegisterOptions.ts"
import type { RegistrationError } from "../../registry/registration/RegistrationError.ts"
import type { Registration } from "../../registry/registration/Registration.ts"
import { registerService } from "../../registry/registerService.ts"
import type { Registry } from "../../registry/Registry.ts"
import { Signals } from "../signals.ts"
import { type Child, type ChildExit, isShared } from "./Child.ts"
import * as Phase from "./phase.ts"

/** The service to register, and when. */
export interface ExecOptions {
  readonly service: string
  /** The options of the registration. `exec` sets `health`, `startup` and `drain` itself. */
  readonly register: Omit<RegisterOptions, "health" | "healthEvery" | "healthThreshold" | "startup" | "drain">
  readonly health?: {
    readonly probe: Probe
    /** The time between two health checks. Default: 5 seconds. */
    readonly interval?: Duration.Input
    /** The time limit of one check. Default: the interval. */
    readonly timeout?: Duration.Input
    /** The number of consecutive failures that mean `"down"`. Default: 3. */
    readonly threshold?: number
  }
  /** How long to publish `"draining"` before removing the key. Default: 0, which publishes nothing. */
  readonly drain?: Duration.Input
}

/** The options, checked. */
export interface ExecPlan {
  readonly service: Service.Service
  readonly options: RegisterOptions
  /** One health check. */
  readonly isHealthy: Effect.Effect<unknown, Error> | undefined
  readonly interval: Duration.Duration
  readonly drain: Duration.Duration
}

/** Checks the options before starting anything. */
export const plan = (
  keyspace: Keyspace,
  { drain = 0, health, register, service: name }: ExecOptions
): Result.Result<ExecPlan, InvalidOption> =>
  Result.flatMap(
    checkOptions("exec", (check): ExecPlan => {
      const interval = check.duration("healthInterval", health?.interval ?? defaultInterval)
      const timeout = check.duration("healthTimeout", health?.timeout ?? interval, { max: interval })
      return {
        service: Service.fromLike(name),
        options: {
          ...register,
          startup: "background",
          ...(health && {
            healthEvery: interval,
            ...(health.threshold !== undefined && { healthThreshold: health.threshold })
          })
        },
        isHealthy: health && checkHealth(health.probe, timeout),
        interval,
        drain: check.duration("drain", drain, { min: Duration.zero })
      }
    }),
    (plan) =>
      Result.map(
        planRegistration(keyspace, plan.service, {
          ...plan.options,
          ...(plan.isHealthy && { health: plan.isHealthy })
        }),
        () => plan
      )
  )

/**
 * Runs a child and keeps its service registered while the child is healthy.
 *
 * **Details**
 *
 * Registers the instance once the child runs, or after the first successful health check. From then on the promises of
 * a registration hold (R1 to R13). On SIGTERM or SIGINT, publishes `"draining"`, waits for `drain`, removes the key,
 * then passes the signal to the child. A second signal does not wait. Other signals go to the child at once. When the
 * child ends, the key is removed.
 *
 * Completes when the child ends. If etcd refuses the instance, ends the child, then fails. Does not fail while etcd is
 * unreachable. Logs a registration that fails later; the child keeps running. Closing the scope removes the key and
 * ends the child.
 */
export const exec = <E>(
  plan: ExecPlan,
  start: Effect.Effect<Child, E, Scope.Scope>
): Effect.Effect<ChildExit, E | RegistrationError, Registry> =>
  Effect.scoped(Effect.gen(function* () {
    const events = yield* Queue.unbounded<Phase.Event>()
    const { handle } = yield* Signals
    yield* handle((signal) => {
      if (!isShared(signal)) Queue.offerUnsafe(events, { _tag: "Signal", signal })
    })
    const child = yield* start
    yield* child.exit.pipe(
      Effect.flatMap((exit) => Queue.offer(events, { _tag: "ChildEnded", exit })),
      Effect.forkScoped({ startImmediately: true })
    )
    const leave = yield* keepRegistered(plan, (error) => Queue.offer(events, { _tag: "Refused", error }))

    const perform = (action: Phase.Action): Effect.Effect<unknown, never, Scope.Scope> => {
      switch (action._tag) {
        case "None":
          return Effect.void
        case "Forward":
          return child.signal(action.signal)
        case "Drain":
          return Effect.forkScoped(Effect.andThen(leave, Queue.offer(events, { _tag: "Drained" })))
        case "Stop":
          return Effect.forkScoped(child.terminate(action.signal), { startImmediately: true })
      }
    }
    let phase: Phase.Phase = Phase.initial
    while (phase._tag !== "Ended") {
      const event = yield* Queue.take(events)
      const [next, action] = Phase.step(phase, event, yield* monotonicMillis)
      phase = next
      yield* perform(action)
    }
    return phase.refused === undefined ? phase.exit : yield* Effect.fail(phase.refused)
  }))

/**
 * Registers in the background until the scope closes, once the child is healthy. Returns an effect that drains and
 * deregisters. Runs `onRefused` if the first registration fails permanently.
 */
const keepRegistered = Effect.fnUntraced(function* (
  plan: ExecPlan,
  onRefused: (error: RegistrationError) => Effect.Effect<unknown>
): Effect.fn.Return<Effect.Effect<void>, never, Registry | Scope.Scope> {
  const scope = yield* Scope.fork(yield* Effect.scope)
  let registration: Registration | undefined
  const run = Effect.gen(function* () {
    const health = plan.isHealthy && (yield* firstHealthy(plan, plan.isHealthy))
    const current = yield* registerService(plan.service, { ...plan.options, ...(health && { health }) })
    registration = current
    yield* Effect.raceFirst(current.awaitFailure, untilRegistered(current))
    yield* Effect.catch(
      current.awaitFailure,
      (error) => Effect.logError(`${error.message} The command keeps running and is not registered.`)
    )
  })
  const fiber = yield* run.pipe(
    Effect.catch(onRefused),
    Scope.provide(scope),
    Effect.forkScoped({ startImmediately: true })
  )
  return Effect.gen(function* () {
    yield* Fiber.interrupt(fiber)
    if (registration !== undefined && !Duration.isZero(plan.drain)) yield* drain(registration, plan.drain)
    yield* Scope.close(scope, Exit.void)
  })
})

/** Waits for the first successful check. Returns a check that repeats this success at its first run. */
const firstHealthy = Effect.fnUntraced(function* (
  { interval, options: { healthThreshold = 3 }, service }: ExecPlan,
  isHealthy: Effect.Effect<unknown, Error>
) {
  let failures = 0
  yield* isHealthy.pipe(
    Effect.tapError((error) => {
      failures++
      return failures === healthThreshold ?
        Effect.logWarning(`${JSON.stringify(service.name)} is not registered yet: ${error.message}`) :
        Effect.void
    }),
    // The schedule has no end.
    Effect.retry(Schedule.spaced(interval)),
    Effect.orDie
  )
  let isKnown = true
  return Effect.suspend(() => {
    if (!isKnown) return isHealthy
    isKnown = false
    return Effect.void
  })
})

const untilRegistered = ({ status }: Registration): Effect.Effect<void> =>
  status.changes.pipe(
    Stream.takeUntil(({ _tag }) => _tag === "Registered" || _tag === "Draining"),
    Stream.runDrain
  )

/** Publishes `"draining"` and waits. Does nothing if the instance is not in etcd: it has no consumers. */
const drain = Effect.fnUntraced(function* (registration: Registration, duration: Duration.Duration) {
  if ((yield* registration.status.get)._tag !== "Registered") return
  yield* Effect.timeoutOption(registration.drain, "5 seconds")
  yield* Effect.sleep(duration)
})
