/**
 * The clients of gRPC whose calls must not fail while instances come and leave.
 *
 * @module
 */
import { createClient } from "@connectrpc/connect"
import * as connectNode from "@connectrpc/connect-node"
import * as grpc from "@grpc/grpc-js"
import { Effect } from "effect"
import { ConnectTransport, GrpcResolver } from "../../src/grpc/mod.ts"
import { attempt } from "../harness/real.ts"
import type { ChurnClient } from "./churn.ts"
import { Orders, serveConnect } from "./connectOrders.ts"
import { clientOf, serve } from "./orders.ts"

export const churnClients: ReadonlyArray<ChurnClient> = [
  {
    name: "a client of grpc-js with GrpcResolver",
    serve,
    make: Effect.gen(function* () {
      yield* GrpcResolver.register(grpc)
      const { get } = yield* clientOf("discovery:///orders")
      return get("1")
    })
  },
  {
    name: "a client of ConnectRPC over gRPC",
    serve: (id) => serveConnect(id),
    make: Effect.gen(function* () {
      const transport = yield* ConnectTransport.make(connectNode, { service: "orders", waitFor: "5 seconds" })
      const orders = createClient(Orders, transport)
      // `Pay` is not retried, so no retry hides a failure.
      return Effect.map(attempt(() => orders.pay({ value: "1" })), ({ value }) => value)
    })
  }
]
