/**
 * HTTP with discovery: `HttpClient` and `fetch` with service names as hosts, and servers that register themselves.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as DiscoveryHttpClient from "./DiscoveryHttpClient.ts"
export { type FetchOptions, makeFetch } from "./fetch.ts"
export * as HttpRegistration from "./HttpRegistration.ts"
