/**
 * Load balancing: picks instances of a service and calls them.
 *
 * @since 0.1.0
 * @module
 */
export * as Balancer from "./Balancer.ts"
export * as ServiceClient from "./client/ServiceClient.ts"
