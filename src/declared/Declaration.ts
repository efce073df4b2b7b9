/**
 * What a file declares, read and checked.
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
  /** What problems are reported under. Default: `declaration`. */
  readonly name?: string
}

/**
 * How a declaration is read.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The host that takes the place of `0.0.0.0`, `[::]` and an empty host in endpoints. Default: `ADVERTISE_ADDRESS` or
   * `POD_IP` of the environment, else the first address of this machine that is not loopback (IPv4 before IPv6).
   */
  readonly advertise?: string | undefined
  /** What `${NAME}` stands for. Default: the variables of the process, of which only those named are read. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** The checks that gate the status of instances, by the name of their service. */
  readonly health?: Readonly<Record<string, Effect.Effect<unknown, unknown>>> | undefined
}

/** What a file declares. */
export interface Declaration {
  readonly etcd?: EtcdGrpcOptions
  readonly namespace?: string
  readonly services: ReadonlyArray<{ readonly service: Service; readonly options: RegisterOptions }>
  readonly discover: ReadonlyArray<Service>
}
