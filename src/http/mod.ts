/**
 * HTTP to services: Effect's `HttpClient`, and `fetch`, with names of services as hosts.
 *
 * @module
 */
export * as DiscoveryHttpClient from "./DiscoveryHttpClient.ts"
export { makeFetch } from "./fetch.ts"
