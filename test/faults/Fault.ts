/**
 * A fault of the table, and how it is run: in its own world, with a stage of clients, judged by the oracle.
 *
 * @module
 */
import { Cause, Effect, Exit, Logger, Metric, type Scope } from "effect"
import type { FrontKind } from "../harness/Front.ts"
import { check, type Figures, figuresOf, type Promised, type Rule, type Violation } from "./check.ts"
import { type History, show } from "./History.ts"
import type { ConnectOptions, SubjectName } from "./Subject.ts"
import { makeWorld, type Member, type World } from "./World.ts"

export interface Fault {
  /** F1, F2, … */
  readonly id: string
  readonly title: string
  /** How long it takes, if long. */
  readonly minutes?: number
  /** Keeps the process so busy that it runs alone. */
  readonly alone?: boolean
  /** Part of every run of the suite. */
  readonly always?: boolean
  readonly members?: number
  readonly args?: ReadonlyArray<string>
  readonly front?: FrontKind
  readonly tls?: boolean
  /** Seconds. */
  readonly ttl?: number
  /** Milliseconds. */
  readonly silence?: number
  readonly promised?: Partial<Promised>
  /** The clients before the fault. Default: {@link populate}. */
  readonly stage?: (world: World) => Effect.Effect<void, unknown, Scope.Scope>
  readonly run: (world: World) => Effect.Effect<void, unknown, Scope.Scope>
}

export interface Outcome {
  readonly fault: string
  readonly subject: SubjectName
  readonly violations: ReadonlyArray<Violation>
  /** Why the fault could not be run to its end. */
  readonly error?: string
  readonly figures: Figures
  readonly seconds: number
  readonly history: History
  readonly logs: ReadonlyArray<string>
}

/** A process that subscribes, one that registers three instances, and one that does both. */
export const populate = Effect.fnUntraced(function* (
  world: World,
  options?: Partial<ConnectOptions> & { readonly only?: ReadonlyArray<Member> }
) {
  const looking = yield* world.connect("looking", options)
  yield* looking.subscribe()
  yield* looking.follow()
  const keeping = yield* world.connect("keeping", options)
  yield* Effect.forEach([1, 2, 3], () => keeping.register(), { concurrency: "unbounded" })
  const both = yield* world.connect("both", options)
  yield* both.register()
  yield* both.subscribe()
})

/** Runs a fault. A failure of a client under test is not an error here; the history contains it. */
export const play = (fault: Fault, subject: SubjectName): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const began = performance.now()
    const logs: Array<string> = []
    let world: World | undefined
    const exit = yield* Effect.gen(function* () {
      const made = world = yield* makeWorld({
        subject,
        ...(fault.members === undefined ? {} : { members: fault.members }),
        ...(fault.args === undefined ? {} : { args: fault.args }),
        ...(fault.front === undefined ? {} : { front: fault.front }),
        ...(fault.tls === undefined ? {} : { tls: fault.tls }),
        ...(fault.ttl === undefined ? {} : { ttl: fault.ttl }),
        ...(fault.silence === undefined ? {} : { silence: fault.silence }),
        ...(fault.promised === undefined ? {} : { promised: fault.promised })
      })
      yield* (fault.stage ?? populate)(made)
      yield* made.truth.catchUp
      if (!(yield* made.converged(20_000)) && subject === "library") {
        return yield* Effect.fail(new Error("the stage was not set within 20 s"))
      }
      yield* fault.run(made)
      yield* made.end
    }).pipe(
      Effect.scoped,
      Effect.timeout("4 minutes"),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.provide(Logger.layer([Logger.make(({ date, message }) => {
        logs.push(`${date.toISOString()} ${[message].flat().map(String).join(" ")}`)
      })])),
      Effect.exit
    )
    const history = world?.recorder.history ?? []
    return {
      fault: fault.title,
      subject,
      ...(Exit.isFailure(exit) ? { error: Cause.pretty(exit.cause) } : {}),
      violations: world === undefined ? [] : check(history, world.promised),
      figures: world === undefined ? { converged: [], back: [] } : figuresOf(history, world.promised),
      seconds: (performance.now() - began) / 1000,
      history,
      logs
    }
  })

/** The violations as text; empty if there are none. */
export const explain = ({ error, history, violations }: Outcome): string =>
  error === undefined && violations.length === 0 ? "" : [
    ...(error === undefined ? [] : [error]),
    ...violations.map(({ detail, rule }) => `${rule}: ${detail}`),
    show(history)
  ].join("\n")

/** The broken rules, without duplicates. */
export const brokenBy = ({ violations }: Outcome): ReadonlyArray<Rule> => [
  ...new Set(violations.map(({ rule }) => rule))
]
