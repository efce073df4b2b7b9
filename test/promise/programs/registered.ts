/** A program without Effect that registers, and closes its client if it is asked to. */
import process from "node:process"
import { connect } from "../../../src/promise/mod.ts"

const [endpoint = "", service = "", close] = process.argv.slice(2)
const client = await connect({ endpoints: [endpoint], handleSignals: true })
await client.register(service, { endpoints: ["http://10.0.0.5:8080"] })
console.log("registered")
if (close !== undefined) await client.close()
