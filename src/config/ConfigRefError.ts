/**
 * The errors of live configuration.
 *
 * @module
 */
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { InvalidOption } from "../internal/options.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const InvalidConfigBase: TaggedErrorClass<"InvalidConfig", {
  readonly key: string
  /** The revision of the bad value. */
  readonly revision: bigint
  /** The problems, each with its path in the value (empty for the whole value). They never contain the value. */
  readonly problems: ReadonlyArray<{ readonly path: string; readonly rule: string }>
  /** The exception, if the schema threw one. */
  readonly cause?: unknown
}> = TaggedErrorClass("InvalidConfig")

/**
 * The value does not parse, or the schema rejects it. The last good value stays in use.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidConfig extends InvalidConfigBase {
  override get message(): string {
    const problems = this.problems.map(({ path, rule }) => path === "" ? rule : `${path}: ${rule}`).join("; ")
    return `${JSON.stringify(this.key)} at revision ${this.revision} is not used: ${problems}`
  }
}

const ConfigRefusedBase: TaggedErrorClass<"ConfigRefused", {
  /** The key, or the prefix of the keys. */
  readonly key: string
  readonly cause: EtcdError
}> = TaggedErrorClass("ConfigRefused")

/**
 * etcd refused the request, or a finite `retry` ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConfigRefused extends ConfigRefusedBase {
  override get message(): string {
    return `cannot follow configuration ${JSON.stringify(this.key)}: ${this.cause.message}`
  }
}

/**
 * The errors of functions that follow configuration.
 *
 * @since 0.1.0
 * @category errors
 */
export type ConfigRefError = InvalidOption | ConfigRefused
