/**
 * How configuration is followed.
 *
 * @module
 */
import { Duration, Option, Result, type Schedule } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { FollowOptions } from "../etcd/follow.ts"
import * as Backoff from "../etcd/Backoff.ts"
import { InvalidConfigOption } from "./ConfigError.ts"

/** How configuration is followed. */
export interface FollowConfigOptions {
  /** An idle watch hears from etcd at least this often. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to show that it is there. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
  /** When to try again after a failure. Default: `Backoff.reregister`, which never ends. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
}

/** The options with their defaults, or the one that cannot be. */
export const settingsOf = (
  options: FollowConfigOptions
): Result.Result<Omit<FollowOptions, "range">, InvalidConfigOption> =>
  Result.gen(function* () {
    const positive = (
      field: keyof FollowConfigOptions,
      value: Duration.Input
    ): Result.Result<Duration.Duration, InvalidConfigOption> => {
      const parsed = Option.getOrUndefined(Duration.fromInput(value))
      return parsed !== undefined && Duration.isPositive(parsed) ?
        Result.succeed(parsed) :
        Result.fail(new InvalidConfigOption({ field, value, rule: "it must be a duration above 0" }))
    }
    return {
      progressEvery: yield* positive("progressEvery", options.progressEvery ?? "10 seconds"),
      progressTimeout: yield* positive("progressTimeout", options.progressTimeout ?? "5 seconds"),
      retry: options.retry ?? Backoff.reregister
    }
  })

/** A key or a prefix that is not empty. */
export const notEmpty = (field: string, value: string): Result.Result<string, InvalidConfigOption> =>
  value === "" ?
    Result.fail(new InvalidConfigOption({ field, value, rule: "it must not be empty" })) :
    Result.succeed(value)
