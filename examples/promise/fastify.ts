// A Fastify service without Effect. It registers after it listens. On SIGTERM it deletes its key, then closes the server.
//
//     npm install fastify
//     ETCD_ENDPOINTS=http://127.0.0.1:2379 node examples/promise/fastify.ts
//
// Without ETCD_ENDPOINTS it registers in memory.
import Fastify from "fastify"
import process from "node:process"
import { connect } from "../../src/promise/mod.ts"

const app = Fastify()
app.get<{ Params: { id: string } }>("/orders/:id", ({ params }) => ({ id: params.id }))

const url = await app.listen({ host: "127.0.0.1", port: Number(process.env["PORT"] ?? 0) })

const endpoints = process.env["ETCD_ENDPOINTS"]?.split(",")
const client = await connect(endpoints === undefined ? { memory: true } : { endpoints })

const stop = async () => {
  // Not in a hook of Fastify: once app.close() has begun, Fastify responds to new requests with 503.
  await client.close() // publishes "draining", waits a second, and deletes the key
  console.log("the key is deleted")
  await app.close() // requests in progress are still answered
  console.log("the server has stopped")
}
process.once("SIGTERM", stop)
process.once("SIGINT", stop)

const registration = await client.register("orders", { endpoints: [url], drain: "1 second" })
console.log(`registered ${registration.key}`)
