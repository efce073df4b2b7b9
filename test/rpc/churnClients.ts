/**
 * The clients of Effect RPC whose calls must not fail while instances come and leave.
 *
 * @module
 */
import { Effect, Layer } from "effect"
import { FetchHttpClient } from "effect/http"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { DiscoveryRpc } from "../../src/rpc/mod.ts"
import type { ChurnClient } from "../grpc/churn.ts"
import { openTcp, Orders, serveHttp, serveTcp } from "./servers.ts"

/** `Pay` is not retried, so no retry hides a failure. */
const pay = Effect.map(RpcClient.make(Orders), (orders) => orders.Pay({ id: "1" }))

export const churnClients: ReadonlyArray<ChurnClient> = [
  {
    name: "layerProtocolHttp",
    serve: (id) => serveHttp(id),
    make: Effect.flatMap(
      Layer.build(
        DiscoveryRpc.layerProtocolHttp("orders", { group: Orders, waitFor: "5 seconds" }).pipe(
          Layer.provide([RpcSerialization.layerNdjson, FetchHttpClient.layer])
        )
      ),
      (context) => Effect.provideContext(pay, context)
    )
  },
  {
    name: "layerProtocolSocket",
    serve: (id) => serveTcp(id),
    make: Effect.flatMap(
      Layer.build(
        DiscoveryRpc.layerProtocolSocket("orders", {
          group: Orders,
          waitFor: "5 seconds",
          socket: ({ endpoints: [endpoint = ""] }) => openTcp(endpoint)
        }).pipe(Layer.provide(RpcSerialization.layerNdjson))
      ),
      (context) => Effect.provideContext(pay, context)
    )
  }
]
