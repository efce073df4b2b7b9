// A CommonJS service on node:http. It registers after it listens, and calls itself by its name. On SIGTERM it deletes its
// key, then closes the server.
//
//     ETCD_ENDPOINTS=http://127.0.0.1:2379 node examples/promise/commonjs.cjs
//
// Without ETCD_ENDPOINTS it registers in memory.
const { once } = require("node:events")
const { createServer } = require("node:http")
const process = require("node:process")
// In your program: require("@effect-etcd/discovery/promise")
const { connect } = require("../../src/promise/mod.ts")

async function main() {
  const server = createServer((request, response) => response.end(`order ${request.url}`))
  server.listen(Number(process.env.PORT ?? 0), "127.0.0.1")
  await once(server, "listening") // rejects if the port is taken
  const { port } = server.address()

  const endpoints = process.env.ETCD_ENDPOINTS?.split(",")
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

  const response = await client.fetch("http://orders/7")
  console.log(await response.text())
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
