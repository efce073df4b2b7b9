/**
 * The one checker of options, and the one error for an option that breaks its rule.
 *
 * @module
 */
import { Duration, Effect, Option, Result, Schedule } from "effect"
import { jsonOf } from "./json.ts"
import { TaggedErrorClass } from "./TaggedErrorClass.ts"
import { formatDuration } from "./time/format.ts"

const InvalidOptionBase: TaggedErrorClass<"InvalidOption", {
  /** The function that was called, such as `registerService`. */
  readonly of: string
  /** The path of the option, such as `protect.maxLoss`. */
  readonly option: string
  /** The value that was given. */
  readonly value: unknown
  /** The rule that the value breaks, and what to write instead. */
  readonly rule: string
}> = TaggedErrorClass("InvalidOption")

/**
 * An option that breaks its rule. Nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends InvalidOptionBase {
  override get message(): string {
    return `cannot call ${this.of}: ${this.option} is ${show(this.value)}; ${this.rule}`
  }
}

const maxShown = 200

/** A value as text for a message: short, and never an exception. */
export const show = (value: unknown): string => {
  const text = Duration.isDuration(value) ?
    formatDuration(value) :
    typeof value === "number" ?
    String(value) :
    typeof value === "function" ?
    "a function" :
    json(value)
  return shorten(text)
}

/** A text for a message, which another process may have written as long as etcd accepts. */
export const shorten = (text: string): string => text.length > maxShown ? `${text.slice(0, maxShown)}…` : text

const json = (value: unknown): string => {
  try {
    return JSON.stringify(jsonOf(value)) ?? String(value)
  } catch {
    // A getter of the user's that throws, or a value without text.
    return typeof value
  }
}

/** The bounds of a duration. Both ends are included. */
export interface DurationBounds {
  /** Default: 1 millisecond. */
  readonly min?: Duration.Duration
  /** Default: 365 days, or none for a duration that may be infinite. */
  readonly max?: Duration.Duration
  /** Default: false. */
  readonly infinite?: boolean
}

/** The bounds of a number. Both ends are included. */
export interface NumberBounds {
  readonly min?: number
  readonly max?: number
  /** Whether it must be a whole number. Default: false. */
  readonly whole?: boolean
}

/** What a check of options uses. Each member returns the valid value or throws an {@link InvalidOption}. */
export interface Check {
  readonly duration: (option: string, value: Duration.Input, bounds?: DurationBounds) => Duration.Duration
  readonly number: (option: string, value: number, bounds?: NumberBounds) => number
  readonly text: (option: string, value: string) => string
  readonly oneOf: <A extends string | boolean>(option: string, value: A, allowed: ReadonlyArray<A>) => A
  readonly object: <A extends object>(option: string, value: A) => A
  readonly list: <A>(option: string, value: ReadonlyArray<A>) => ReadonlyArray<A>
  readonly effect: <A, E, R>(option: string, value: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly schedule: <S extends Schedule.Schedule<unknown, never>>(option: string, value: S) => S
  readonly callback: <F extends (...args: never) => unknown>(option: string, value: F) => F
  /** The success of a result whose failure is the broken rule. */
  readonly valid: <A>(option: string, value: unknown, result: Result.Result<A, string>) => A
  /** Refuses a value with a rule of the caller's own. */
  readonly refuse: (option: string, value: unknown, rule: string) => never
}

const checkOf = (of: string): Check => {
  const refuse = (option: string, value: unknown, rule: string): never => {
    throw new InvalidOption({ of, option, value, rule })
  }
  return {
    refuse,
    duration: (option, value, { infinite = false, max, min = Duration.millis(1) } = {}) => {
      const duration = isAmount(value) ? Option.getOrUndefined(Duration.fromInput(value)) : undefined
      if (duration !== undefined && isWithin(duration, min, max) && (infinite || Duration.isFinite(duration))) {
        if (infinite || max !== undefined || Duration.isLessThanOrEqualTo(duration, longest)) return duration
        return refuse(option, value, durationRule(value, { infinite, max: longest, min }))
      }
      return refuse(option, value, durationRule(value, { infinite, max, min }))
    },
    number: (option, value, bounds = {}) => {
      const { max = Number.MAX_VALUE, min = -Number.MAX_VALUE, whole = false } = bounds
      const isValid = Number.isFinite(value) && value >= min && value <= max && (!whole || Number.isSafeInteger(value))
      return isValid ? value : refuse(option, value, numberRule(bounds))
    },
    text: (option, value) => typeof value === "string" ? value : refuse(option, value, "it must be a string"),
    oneOf: (option, value, allowed) =>
      allowed.includes(value) ? value : refuse(option, value, `it must be one of ${allowed.map(show).join(", ")}`),
    object: (option, value) =>
      typeof value === "object" && value !== null ? value : refuse(option, value, "it must be an object of options"),
    list: (option, value) =>
      Array.isArray(value) ? value : refuse(option, value, 'it must be a list, such as ["a", "b"]'),
    effect: (option, value) =>
      Effect.isEffect(value) ? value : refuse(option, value, "it must be an effect, such as Effect.void"),
    schedule: (option, value) =>
      Schedule.isSchedule(value) ?
        value :
        refuse(option, value, 'it must be a schedule, such as Schedule.spaced("1 second")'),
    callback: (option, value) => typeof value === "function" ? value : refuse(option, value, "it must be a function"),
    valid: (option, value, result) => Result.isSuccess(result) ? result.success : refuse(option, value, result.failure)
  }
}

/** No option needs more. Beyond it a drain or a timeout would never end. */
const longest = Duration.days(365)

const units = ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"]

/** Whether an input is a duration at all: `Duration.fromInput` reads `NaN`, `{}` and `{ second: 5 }` as zero. */
const isAmount = (value: unknown): boolean => {
  if (typeof value === "number") return !Number.isNaN(value)
  if (typeof value !== "object" || value === null || Duration.isDuration(value)) return true
  if (Array.isArray(value)) return value.every((part) => !Number.isNaN(part))
  const members = Object.entries(value)
  return members.length > 0 &&
    members.every(([unit, amount]) => units.includes(unit) && typeof amount === "number" && !Number.isNaN(amount))
}

const isWithin = (duration: Duration.Duration, min: Duration.Duration, max: Duration.Duration | undefined): boolean =>
  Duration.isGreaterThanOrEqualTo(duration, min) && (max === undefined || Duration.isLessThanOrEqualTo(duration, max))

const examples = ["15 seconds", "2 seconds", "100 millis"] as const

const durationRule = (
  value: unknown,
  { infinite, max, min }: {
    readonly infinite: boolean
    readonly max: Duration.Duration | undefined
    readonly min: Duration.Duration
  }
): string => {
  const atLeast = Duration.isZero(min) ? "of 0 or more" : `of at least ${formatDuration(min)}`
  const atMost = max === undefined ? "" : ` and at most ${formatDuration(max)}`
  const example = examples.find((text) => isWithin(Duration.fromInputUnsafe(text), min, max)) ?? formatDuration(min)
  const rule = `it must be a ${infinite ? "" : "finite "}duration ${atLeast}${atMost}, such as "${example}"`
  return typeof value === "number" ? `${rule}; a bare number means milliseconds` : rule
}

const numberRule = ({ max, min, whole = false }: NumberBounds): string => {
  const kind = whole ? "a whole number" : "a finite number"
  if (min !== undefined && max !== undefined) return `it must be ${kind} from ${min} to ${max}`
  if (min !== undefined) return `it must be ${kind} of at least ${min}`
  return max === undefined ? `it must be ${kind}` : `it must be ${kind} of at most ${max}`
}

/**
 * Runs a check of the options of one function.
 *
 * The body throws at the first option that breaks its rule. Any other exception passes through: it is a defect.
 */
export const checkOptions = <A>(of: string, body: (check: Check) => A): Result.Result<A, InvalidOption> => {
  try {
    return Result.succeed(body(checkOf(of)))
  } catch (error) {
    if (error instanceof InvalidOption) return Result.fail(error)
    throw error
  }
}
