// An Express service without Effect. It registers after it listens. On SIGTERM it deletes its key, then closes the server.
//
//     npm install express
//     ETCD_ENDPOINTS=http://127.0.0.1:2379 node examples/promise/express.ts
//
// Without ETCD_ENDPOINTS it registers in memory.
import express from "express"
import { once } from "node:events"
import type { AddressInfo } from "node:net"
import process from "node:process"
import { connect } from "../../src/promise/mod.ts"

const app = express()
app.get("/orders/:id", (request, response) => {
  response.json({ id: request.params.id })
})

const server = app.listen(Number(process.env["PORT"] ?? 0), "127.0.0.1")
await once(server, "listening") // rejects if the port is taken
const { port } = server.address() as AddressInfo

const endpoints = process.env["ETCD_ENDPOINTS"]?.split(",")
const client = await connect(endpoints === undefined ? { memory: true } : { endpoints })

const stop = async () => {
  await client.close() // publishes "draining", waits a second, and deletes the key
  console.log("the key is deleted")
  server.close(() => console.log("the server has stopped")) // requests in progress are still answered
  server.closeIdleConnections()
}
process.once("SIGTERM", stop)
process.once("SIGINT", stop)

const registration = await client.register("orders", { endpoints: [`http://127.0.0.1:${port}`], drain: "1 second" })
console.log(`registered ${registration.key}`)

// For example if etcd refuses the key after an outage.
registration.onFailure((error) => {
  console.error(error.message)
  process.exitCode = 1
  void stop()
})
