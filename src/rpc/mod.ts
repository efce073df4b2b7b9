/**
 * Effect RPC with discovery: a protocol over HTTP and one over sockets that pick an instance for each request.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as DiscoveryRpc from "./DiscoveryRpc.ts"
