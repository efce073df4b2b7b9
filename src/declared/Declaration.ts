/**
 * A checked declaration, and the options of reading it.
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
  /** The name for problems. Default: `declaration`. */
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
  /** The environment variables. Default: those of the process; only the named ones are read. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** The health checks of instances, by the name of their service. */
  readonly health?: Readonly<Record<string, Effect.Effect<unknown, unknown>>> | undefined
}

/** The content of a file. */
export interface Declaration {
  readonly etcd?: EtcdGrpcOptions
  readonly namespace?: string
  readonly services: ReadonlyArray<{ readonly service: Service; readonly options: RegisterOptions }>
  readonly discover: ReadonlyArray<Service>
  /** Ignored parts of the file, one line each. */
  readonly warnings: ReadonlyArray<string>
}
