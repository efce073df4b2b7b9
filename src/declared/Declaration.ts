/**
 * A declaration that was read and checked, and how it is read.
 *
 * @module
 */
import type { Effect } from "effect"
import type { Options as EtcdGrpcOptions } from "../etcd/grpc/EtcdGrpc.ts"
import type { Service } from "../registry/model/Service.ts"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"

/**
 * A file (`.yaml`, `.yml`, `.toml`, `.json`), or the text of one.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = string | URL | {
  readonly text: string
  readonly format: "json" | "yaml" | "toml"
  /** The name that problems are reported under. Default: `declaration`. */
  readonly name?: string
}

/**
 * The options of `register` and `layer`.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The host that replaces `0.0.0.0`, `[::]` and an empty host in endpoints.
   *
   * Default: `ADVERTISE_ADDRESS` or `POD_IP` of the environment, else the first address of this machine that is not
   * loopback (IPv4 before IPv6).
   */
  readonly advertise?: string | undefined
  /** The variables. Default: those of the process, of which only the named ones are read. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** The health checks of instances, by the name of their service. */
  readonly health?: Readonly<Record<string, Effect.Effect<unknown, unknown>>> | undefined
}

/** What a file declares. */
export interface Declaration {
  readonly etcd?: EtcdGrpcOptions
  readonly namespace?: string
  readonly services: ReadonlyArray<{ readonly service: Service; readonly options: RegisterOptions }>
  readonly discover: ReadonlyArray<Service>
  /** What the file says and is ignored, one line each. */
  readonly warnings: ReadonlyArray<string>
}
