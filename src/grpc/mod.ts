/**
 * gRPC with discovery: a name resolver for grpc-js, a transport for ConnectRPC, and what status codes mean for retries.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
export * as ConnectTransport from "./ConnectTransport.ts"
export * as GrpcResolver from "./GrpcResolver.ts"
export * as GrpcStatus from "./GrpcStatus.ts"
