/**
 * All checks of `./persistence`.
 *
 * @module
 */
import type { Check } from "./Check.ts"
import * as keyValue from "./keyValueChecks.ts"
import * as persistence from "./persistenceChecks.ts"
import * as rateLimiter from "./rateLimiterChecks.ts"

export const checks: ReadonlyArray<Check> = [...keyValue.checks, ...persistence.checks, ...rateLimiter.checks]
