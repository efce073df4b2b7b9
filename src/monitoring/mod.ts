/**
 * Monitoring: Prometheus metrics and service discovery, and health probes, as routes and as a web handler.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as Monitoring from "./Monitoring.ts"
