/**
 * Decides which fault a call has: by rules, or at random.
 *
 * @module
 */
import { Effect, Random } from "effect"
import { type Call, type Fault, type Method, transient } from "./Fault.ts"

/**
 * A fault and the calls that it applies to: those that match all given members.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rule {
  readonly fault: Fault
  /** Default: every method that the fault applies to. */
  readonly method?: Method | ReadonlyArray<Method>
  /** The key of the call, or a predicate. Calls without a key do not match. */
  readonly key?: string | ((key: string) => boolean)
  /** The first matching call that it applies to, counted from 1 since the rule was set. Default: 1. */
  readonly nth?: number
  /** The number of calls that it applies to. Default: 1 with `nth`, otherwise all. */
  readonly times?: number
}

/**
 * The faults to inject: rules, of which the first match counts, or random faults.
 *
 * @since 0.1.0
 * @category models
 */
export type Script = ReadonlyArray<Rule> | RandomScript

/**
 * Random faults, reproducible by their seed.
 *
 * @since 0.1.0
 * @category models
 */
export interface RandomScript {
  /** With the same seed, the nth call of a method always has the same fault. */
  readonly seed: string | number
  /** The fraction of calls with a fault, from 0 to 1. */
  readonly rate: number
  /** The faults to draw from. Faults that do not apply to the method are not drawn. Default: {@link transient}. */
  readonly faults?: ReadonlyArray<Fault>
}

/** Returns the fault of a call. */
export type Decide = (call: Call) => Fault | undefined

const ofWatch: ReadonlySet<Fault["_tag"]> = new Set([
  "BreaksAfter",
  "EndsAfter",
  "SilentAfter",
  "DropsEventsAfter",
  "ProgressTwice"
])

const appliesTo = (fault: Fault, method: Method): boolean =>
  method === "watch" ? fault._tag !== "AnswerLost" : !ofWatch.has(fault._tag)

/** Makes the decision for each call of a script. */
export const decider = (script: Script): Decide => "seed" in script ? randomDecider(script) : ruleDecider(script)

const ruleDecider = (rules: ReadonlyArray<Rule>): Decide => {
  const seen = rules.map(() => 0)
  return (call) => {
    let chosen: Fault | undefined
    rules.forEach((rule, index) => {
      if (!matches(rule, call)) return
      const nth = (seen[index] ?? 0) + 1
      seen[index] = nth
      const from = rule.nth ?? 1
      const times = rule.times ?? (rule.nth === undefined ? Infinity : 1)
      if (nth >= from && nth < from + times) chosen ??= rule.fault
    })
    return chosen
  }
}

const matches = ({ fault, key, method }: Rule, call: Call): boolean => {
  if (!appliesTo(fault, call.method)) return false
  if (method !== undefined && !(typeof method === "string" ? [method] : method).includes(call.method)) return false
  if (key === undefined) return true
  return call.key !== undefined && (typeof key === "string" ? key === call.key : key(call.key))
}

const randomDecider = ({ faults = transient, rate, seed }: RandomScript): Decide => {
  const dice = new Map<Method, Random.Random>()
  return ({ method }) => {
    const die = dice.get(method) ?? Effect.runSync(Random.withSeed(Effect.service(Random.Random), `${seed}/${method}`))
    dice.set(method, die)
    const isHit = die.nextDoubleUnsafe() < rate
    const drawn = die.nextDoubleUnsafe()
    const possible = faults.filter((fault) => appliesTo(fault, method))
    return isHit ? possible[Math.floor(drawn * possible.length)] : undefined
  }
}
