// A ConnectRPC client that calls a service by name, over HTTP/2 with the gRPC protocol, without Effect. Two servers
// register, and one of them is killed.
//
//     npm install @connectrpc/connect @connectrpc/connect-node
//     deno run -A examples/connect.ts
//
import { create, createFileRegistry } from "@bufbuild/protobuf"
import type { GenService } from "@bufbuild/protobuf/codegenv2"
import {
  file_google_protobuf_wrappers,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
  type StringValueSchema
} from "@bufbuild/protobuf/wkt"
import { createClient } from "@connectrpc/connect"
import * as connectNode from "@connectrpc/connect-node"
import { createServer, type ServerHttp2Session } from "node:http2"
import type { AddressInfo } from "node:net"
import process from "node:process"
import { connect } from "../src/promise/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// Your program imports `Orders` from the generated orders_pb.ts. This is the same by hand.
const text = { inputType: ".google.protobuf.StringValue", outputType: ".google.protobuf.StringValue" }
const file = create(FileDescriptorProtoSchema, {
  name: "orders.proto",
  package: "shop",
  syntax: "proto3",
  dependency: ["google/protobuf/wrappers.proto"],
  service: [{
    name: "Orders",
    method: [
      // If its connection is lost, a method that may run twice is retried on another instance.
      { name: "Get", ...text, options: { idempotencyLevel: MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS } },
      { name: "Pay", ...text }
    ]
  }]
})
const files = createFileRegistry(
  create(FileDescriptorSetSchema, { file: [file_google_protobuf_wrappers.proto, file] })
)
interface Unary {
  readonly methodKind: "unary"
  readonly input: typeof StringValueSchema
  readonly output: typeof StringValueSchema
}
const Orders = files.getService("shop.Orders") as GenService<{ get: Unary; pay: Unary }>

const discovery = await connect({ endpoints })

/** Serves and registers. The returned function kills the server, which stays registered. */
const serve = async (name: string): Promise<() => void> => {
  const sessions = new Set<ServerHttp2Session>()
  const handler = connectNode.connectNodeAdapter({
    routes: (router) =>
      router.service(Orders, {
        get: ({ value }) => ({ value: `order ${value} from ${name}` }),
        pay: ({ value }) => ({ value: `order ${value} is paid` })
      })
  })
  const server = createServer(handler).on("session", (session) => sessions.add(session))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()))
  const { port } = server.address() as AddressInfo
  await discovery.register("orders", { id: name, endpoints: [`http://127.0.0.1:${port}`] })
  return () => {
    server.close()
    sessions.forEach((session) => session.destroy())
  }
}

const [killA, killB] = [await serve("a"), await serve("b")]

const transport = await discovery.connectTransport(connectNode, { service: "orders" })
const orders = createClient(Orders, transport)
const answers = [await orders.get({ value: "1" }), await orders.get({ value: "2" })].map(({ value }) => value)
console.log(answers.map((answer) => answer.slice(-1)).sort().join(" and "), "have responded")
console.log((await orders.pay({ value: "1" })).value)

killB()
let fromA = 0
for (let id = 0; id < 10; id++) if ((await orders.get({ value: String(id) })).value.endsWith("from a")) fromA += 1
console.log(`b was killed, and ${fromA} of 10 calls were answered by a`)

await discovery.close()
killA()
