/**
 * Calls that find their way: which instance of a service to call next.
 *
 * @module
 */
export * as Balancer from "./Balancer.ts"
export * as Endpoints from "./Endpoints.ts"
