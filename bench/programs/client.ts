/** The client of the contender that this process measures. */
import { type Client, load } from "../contenders/Contender.ts"
import { readArguments } from "./measure.ts"

const { endpoint, file, parameters, typed } = readArguments()

// What a program pays for Effect alone.
if (parameters["effect"] === 1) await import("effect")
const connect = await load(file)

/** Loads and makes the client. Its first call opens the connection. */
export const makeClient = (): Client | Promise<Client> =>
  connect({ endpoint, typed, ttl: parameters["ttl"] ?? 15, sharedLease: parameters["sharedLease"] === 1 })
