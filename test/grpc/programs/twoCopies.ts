// A process with two copies of grpc-js, of which one has the resolver.
import * as grpc from "@grpc/grpc-js"
import { createRequire } from "node:module"
import { connect } from "../../../src/promise/mod.ts"

const require = createRequire(import.meta.url)
for (const file of Object.keys(require.cache)) if (file.includes("grpc-js")) delete require.cache[file]
const other: typeof grpc = require("@grpc/grpc-js")
if (other.Client === grpc.Client) throw new Error("there is one copy only")

const discovery = await connect({ memory: true })
await discovery.registerGrpcResolver(grpc)

const detailsOf = (copy: typeof grpc): Promise<string> =>
  new Promise((resolve) => {
    const client = new copy.Client("discovery:///orders", copy.credentials.createInsecure())
    const done = (error: grpc.ServiceError | null) => {
      client.close()
      resolve(error?.details ?? "it has succeeded")
    }
    const deadline = Date.now() + 5000
    client.makeUnaryRequest("/Orders/Get", () => Buffer.alloc(0), () => undefined, 1, { deadline }, done)
  })

const resolved = (details: string) => details.includes('cannot resolve "orders"')
if (resolved(await detailsOf(grpc))) console.log('this copy: cannot resolve "orders"')
if (!resolved(await detailsOf(other))) console.log("the other copy: the target is the name of a host")
await discovery.close()
