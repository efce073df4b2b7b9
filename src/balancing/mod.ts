/**
 * Picking instances of a service, and calling them.
 *
 * @since 0.1.0
 * @module
 */
export * as Balancer from "./Balancer.ts"
export * as ServiceClient from "./client/ServiceClient.ts"
