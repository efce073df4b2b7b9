// grpc-js clients whose target is the name of a service, without Effect. Two servers register. One of them drains and
// stops, and no call fails.
//
//     deno run -A examples/grpc.ts
//
import * as grpc from "@grpc/grpc-js"
import process from "node:process"
import { connect } from "../src/promise/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// A generator makes this from a .proto file. This service sends JSON.
const toBytes = (value: unknown) => Buffer.from(JSON.stringify(value))
const fromBytes = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes))
const Orders: grpc.ServiceDefinition = {
  Get: {
    path: "/shop.Orders/Get",
    requestStream: false,
    responseStream: false,
    requestSerialize: toBytes,
    requestDeserialize: fromBytes,
    responseSerialize: toBytes,
    responseDeserialize: fromBytes
  }
}
interface Order {
  readonly id: number
  readonly from: string
}

const discovery = await connect({ endpoints })

/** Serves and registers. The returned function deregisters, and stops the server after its calls have ended. */
const serve = async (name: string): Promise<() => Promise<void>> => {
  const server = new grpc.Server()
  server.addService(Orders, {
    Get: (call: grpc.ServerUnaryCall<{ readonly id: number }, Order>, done: grpc.sendUnaryData<Order>) =>
      done(null, { id: call.request.id, from: name })
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      grpc.ServerCredentials.createInsecure(),
      (error, port) => error === null ? resolve(port) : reject(error)
    )
  )
  const registration = await discovery.register("orders", {
    id: name,
    endpoints: [`grpc://127.0.0.1:${port}`],
    // The time for clients to notice that this instance drains.
    drain: "500 millis"
  })
  return async () => {
    await registration.release()
    await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  }
}

const [stopA, stopB] = [await serve("a"), await serve("b")]

// After this, `discovery:///<service>` is a target for every client of this copy of grpc-js.
await discovery.registerGrpcResolver(grpc)

const OrdersClient = grpc.makeGenericClientConstructor(Orders, "Orders")
const orders = new OrdersClient("discovery:///orders", grpc.credentials.createInsecure())
const get = (id: number): Promise<Order> =>
  new Promise((resolve, reject) =>
    orders["Get"]?.(
      { id },
      { deadline: Date.now() + 5000 },
      (error: Error | null, order: Order) => error === null ? resolve(order) : reject(error)
    )
  )

/** Calls until all of these servers have responded. */
const callUntil = async (...names: ReadonlyArray<string>): Promise<void> => {
  const seen = new Set<string>()
  for (let id = 1; names.some((name) => !seen.has(name)); id++) seen.add((await get(id)).from)
}
await callUntil("a", "b")
console.log("a and b have responded")

// `b` leaves while calls are running.
let isOver = false
const load = (async () => {
  let calls = 0
  for (; !isOver; calls++) await get(calls)
  return calls
})()
await stopB()
isOver = true
console.log(await load > 0 ? "b has left, and no call failed" : "no call was made")
console.log(`order ${(await get(7)).id} from ${(await get(7)).from}`)

orders.close()
await stopA()
await discovery.close()
