/**
 * What discovery fails with.
 *
 * @module
 */
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { InvalidOption } from "../../internal/options.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

const DiscoveryRefusedBase: TaggedErrorClass<"DiscoveryRefused", {
  /** The prefix of the keys to read. */
  readonly prefix: string
  readonly cause: EtcdError
}> = TaggedErrorClass("DiscoveryRefused")

/**
 * etcd refused the read, a single read got no answer, or a finite `retry` ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class DiscoveryRefused extends DiscoveryRefusedBase {
  override get message(): string {
    return `cannot discover ${JSON.stringify(this.prefix)}: ${this.cause.message}`
  }
}

/**
 * What discovery fails with.
 *
 * @since 0.1.0
 * @category errors
 */
export type DiscoveryError = InvalidOption | DiscoveryRefused
