/**
 * The keys of a cluster below its prefix:
 *
 * - `runners/<host:port>`: a runner and whether it is healthy, under the runner's membership lease
 * - `machines/<number>`: the address of the runner that has this machine id, under the same lease
 * - `locks/<group:number>`: the address of the runner that owns the shard, under the runner's lock lease
 *
 * @module
 */
import { Option } from "effect"
import { parseJson } from "../internal/text/json.ts"

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** Text of a key or a value. */
export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes)

/** The keys of a cluster. */
export interface Keys {
  readonly runners: string
  readonly machines: string
  readonly locks: string
  readonly runner: (address: string) => string
  readonly lock: (shardId: string) => string
}

/** The keys below a prefix, which ends with a slash. */
export const make = (prefix: string): Keys => {
  const [runners, machines, locks] = [`${prefix}runners/`, `${prefix}machines/`, `${prefix}locks/`]
  return {
    runners,
    machines,
    locks,
    runner: (address) => `${runners}${address}`,
    lock: (shardId) => `${locks}${shardId}`
  }
}

/** The value of a runner's key. */
export interface RunnerValue {
  /** As Effect's `Runner.encodeSync` writes it. */
  readonly runner: string
  readonly healthy: boolean
}

/** Writes the value of a runner's key. */
export const encodeRunner = ({ healthy, runner }: RunnerValue): string => JSON.stringify({ runner, healthy })

/** Reads the value of a runner's key. None if the value is not a runner. */
export const decodeRunner = (value: Uint8Array): Option.Option<RunnerValue> => {
  try {
    const { healthy, runner } = (parseJson(textOf(value)) ?? {}) as { runner?: unknown; healthy?: unknown }
    return typeof runner === "string" && typeof healthy === "boolean" ? Option.some({ runner, healthy }) : Option.none()
  } catch {
    return Option.none()
  }
}
