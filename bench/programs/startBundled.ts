/** Like `start.ts` with the library, in a form that bundlers can follow. */
import { connect } from "../contenders/ours.ts"
import { now, parameter, readArguments, report } from "./measure.ts"

const { endpoint, typed } = readArguments()
const client = await connect({ endpoint, typed, ttl: 15 })
await client.register("i0")
report({ "ms": now() - parameter("startedAt") })
