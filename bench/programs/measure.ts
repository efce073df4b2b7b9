/** Shared by the programs of the benchmark: the value of an instance, clocks, and reporting. */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import process from "node:process"

export const service = "bench"

const strings = { mark: "", region: "eu-central-1", build: "2f9c1e7a55d04c0b", shard: "17", load: "0.25" }

/** The metadata of an instance, with and without a schema. */
export const metadata = { strings, typed: { ...strings, shard: 17, load: 0.25 } } as const

/** The other options of an instance. */
export const options = {
  version: "1.4.2",
  endpoints: ["http://10.0.0.5:8080", "grpc://10.0.0.5:9090"],
  weight: 1,
  zone: "a"
} as const

/** The value in etcd, about 260 bytes. */
export const instanceValue = (id: string, mark: string, typed: boolean, name: string = service): string => {
  const { endpoints, version, weight, zone } = options
  return JSON.stringify({
    id,
    name,
    version,
    metadata: { ...(typed ? metadata.typed : metadata.strings), mark },
    endpoints,
    weight,
    zone,
    status: "up"
  })
}

export const prefixOf = (name: string = service): string => `/services/${name}/`

export const keyOf = (id: string, name: string = service): string => `${prefixOf(name)}${id}`

/** The part of an instance that programs without a schema use. */
export interface Parsed {
  readonly id: string
  readonly metadata: { readonly mark: string }
}

/** A short digest of ids, to compare a set with what etcd holds. */
export const fingerprint = (ids: Iterable<string>): string =>
  createHash("sha256").update([...ids].sort().join("\n")).digest("hex").slice(0, 16)

/** Milliseconds since the epoch with fractions, comparable between processes of one machine. */
export const now = (): number => performance.timeOrigin + performance.now()

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/** Milliseconds of CPU, user and system, of all threads. */
const cpuMillis = (): number => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1000
}

/** Starts counting. Each call returns the milliseconds of wall clock and of CPU so far. */
export const stopwatch = (): () => { readonly millis: number; readonly cpuMillis: number } => {
  const cpuBefore = cpuMillis()
  const startedAt = performance.now()
  return () => ({ millis: performance.now() - startedAt, cpuMillis: cpuMillis() - cpuBefore })
}

/** The largest resident memory of this process so far. */
export const peakMegabytes = (): number => {
  try {
    const line = /^VmHWM:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]
    if (line !== undefined) return Number(line) * 1024 / 1e6
  } catch {
    // not Linux
  }
  return process.resourceUsage().maxRSS * 1024 / 1e6
}

/** Prints that the program has reached a stage. */
export const print = (line: string): void => console.log(line)

/** Prints that the program is ready, and waits until the benchmark closes its input. */
export const awaitGo = (): Promise<void> => {
  const go = new Promise<void>((resolve) => {
    process.stdin.on("end", () => resolve())
    process.stdin.resume()
  })
  print("ready")
  return go
}

/** Prints the figures. Open resources stay open until the benchmark ends the process. */
export const report = (figures: Readonly<Record<string, number>>): void => print(`figures ${JSON.stringify(figures)}`)

/** The input from the benchmark. */
export interface Arguments {
  /** The module of the contender, see `load`. */
  readonly file: string
  readonly endpoint: string
  readonly typed: boolean
  readonly parameters: Readonly<Record<string, number>>
}

export const readArguments = (): Arguments => JSON.parse(process.argv[2] ?? "{}")

/** A parameter of the scenario. */
export const parameter = (name: string): number => {
  const value = readArguments().parameters[name]
  if (value === undefined) throw new Error(`no parameter ${name}`)
  return value
}
