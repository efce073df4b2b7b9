/**
 * What can be wrong with live configuration.
 *
 * @module
 */
import { Data } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const InvalidConfigBase: TaggedErrorClass<"InvalidConfig", {
  readonly key: string
  /** The revision at which it was put. */
  readonly revision: bigint
  /** What is wrong with it, each with its place in the value (empty: all of it). Never the value itself. */
  readonly problems: ReadonlyArray<{ readonly path: string; readonly rule: string }>
}> = Data.TaggedError("InvalidConfig")

/** A value that is not used: it does not parse, or the schema refuses it. The last good one stays. */
export class InvalidConfig extends InvalidConfigBase {
  override get message(): string {
    const problems = this.problems.map(({ path, rule }) => path === "" ? rule : `${path}: ${rule}`).join("; ")
    return `${JSON.stringify(this.key)} at revision ${this.revision} is not used: ${problems}`
  }
}

const InvalidConfigOptionBase: TaggedErrorClass<"InvalidConfigOption", {
  /** The option. */
  readonly field: string
  /** What it was given. */
  readonly value: unknown
  /** What it must be. */
  readonly rule: string
}> = Data.TaggedError("InvalidConfigOption")

/** A key or an option that cannot be. Nothing was sent. */
export class InvalidConfigOption extends InvalidConfigOptionBase {
  override get message(): string {
    return `cannot follow configuration: ${this.field} is ${
      JSON.stringify(this.value) ?? String(this.value)
    }; ${this.rule}`
  }
}

const ConfigRefusedBase: TaggedErrorClass<"ConfigRefused", {
  /** The key, or what the keys start with. */
  readonly key: string
  readonly cause: EtcdError
}> = Data.TaggedError("ConfigRefused")

/** etcd refused, or a finite `retry` ran out. */
export class ConfigRefused extends ConfigRefusedBase {
  override get message(): string {
    return `cannot follow configuration ${JSON.stringify(this.key)}: ${this.cause.message}`
  }
}

/** What following configuration fails with. */
export type ConfigError = InvalidConfigOption | ConfigRefused
