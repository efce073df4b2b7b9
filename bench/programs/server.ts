/** An HTTP server that responds at once. It prints its port and ends when its input closes. */
import http from "node:http"
import process from "node:process"
import { print } from "./measure.ts"

const server = http.createServer((_, response) => response.end("ok"))
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  print(`port ${typeof address === "object" ? address?.port : ""}`)
})
process.stdin.on("end", () => process.exit(0)).resume()
