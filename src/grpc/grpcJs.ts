/**
 * The part of `@grpc/grpc-js` that the resolver uses.
 *
 * The types are structural: a process can hold two copies of grpc-js, whose own types do not fit each other.
 *
 * @module
 */

/**
 * The module `@grpc/grpc-js`, version 1.14 or newer: `import * as grpc from "@grpc/grpc-js"`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcJs {
  readonly experimental: {
    readonly registerResolver: (scheme: string, resolverClass: ResolverClass) => void
    readonly statusOrFromValue: <A>(value: A) => unknown
    readonly statusOrFromError: (status: StatusDetails) => unknown
  }
}

/**
 * A status without metadata.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusDetails {
  readonly code: number
  readonly details: string
}

/**
 * The target of a channel, parsed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly scheme?: string
  readonly authority?: string
  readonly path: string
}

/**
 * Receives a resolution for a channel. Returns whether its load balancer accepts it.
 *
 * @since 0.1.0
 * @category models
 */
export type Listener = (endpoints: never, attributes: never, serviceConfig: never, note: string) => boolean

/**
 * A resolver class of grpc-js.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResolverClass {
  new (target: Target, listener: Listener, channelOptions: object): {
    updateResolution(): void
    destroy(): void
  }
  getDefaultAuthority(target: Target): string
}
