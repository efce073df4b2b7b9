/**
 * Service registration and discovery behind promises, for programs that do not use Effect.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export { ClientError } from "./ClientError.ts"
export { type Client, connect, type ConnectOptions, type MonitoringOptions } from "./connect.ts"
export type { Instances } from "./Instances.ts"
export type { DurationOption, RegisterOptions, Registration, Status } from "./Registration.ts"
