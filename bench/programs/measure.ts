/** What the programs of the benchmark share: the value of an instance, quantiles, and the lines they answer with. */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import process from "node:process"

export const service = "bench"

/** About 230 bytes, as an instance of ours is written. */
export const instanceValue = (id: string, mark: string, name: string = service): string =>
  JSON.stringify({
    id,
    name,
    version: "1.4.2",
    metadata: { mark, region: "eu-central-1", build: "2f9c1e7a55d04c0b" },
    endpoints: [`http://10.0.0.5:8080`, `grpc://10.0.0.5:9090`],
    weight: 1,
    zone: "a",
    status: "up"
  })

/** What `registerService` is told so that it writes just that value. */
export const instanceOptions = (id: string, mark: string) => ({
  id,
  version: "1.4.2",
  metadata: { mark, region: "eu-central-1", build: "2f9c1e7a55d04c0b" },
  endpoints: ["http://10.0.0.5:8080", "grpc://10.0.0.5:9090"],
  weight: 1,
  zone: "a"
} as const)

export const prefixOf = (name: string = service): string => `/services/${name}/`

export const keyOf = (id: string, name: string = service): string => `${prefixOf(name)}${id}`

/** What is compared of an instance that was read with `JSON.parse`. */
export interface Parsed {
  readonly id: string
  readonly metadata: { readonly mark: string }
}

/** What a set holds, in one word, to compare it with what etcd has. */
export const fingerprint = (ids: Iterable<string>): string =>
  createHash("sha256").update([...ids].sort().join("\n")).digest("hex").slice(0, 16)

/** Milliseconds of the epoch with fractions, comparable between processes of one machine. */
export const now = (): number => performance.timeOrigin + performance.now()

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/** Microseconds of CPU, user and system, of all threads. */
export const cpu = (): number => {
  const { system, user } = process.cpuUsage()
  return user + system
}

/** Counts the CPU of the process from now on: the answer tells it, in microseconds. `--profile` writes what ran meanwhile. */
export const startCpu = (): () => number => {
  const stopProfile = startProfile()
  const before = cpu()
  return () => {
    const spent = cpu() - before
    stopProfile()
    return spent
  }
}

const profileFile = process.env["BENCH_PROFILE"]
let written: Promise<void> | undefined

const startProfile = (): () => void => {
  if (profileFile === undefined) return () => {}
  const session = new (process.getBuiltinModule("node:inspector").Session)()
  session.connect()
  session.post("Profiler.enable")
  session.post("Profiler.setSamplingInterval", { interval: 100 })
  session.post("Profiler.start")
  return () => {
    written = new Promise((resolve, reject) =>
      session.post("Profiler.stop", (error, stopped) => {
        session.disconnect()
        if (error !== null) return reject(error)
        writeFileSync(profileFile, JSON.stringify(stopped.profile))
        resolve()
      })
    )
  }
}

export const residentBytes = (): number => process.memoryUsage().rss

const statusLine = (file: string, name: string): number | undefined => {
  try {
    const line = new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(readFileSync(file, "utf8"))?.[1]
    return line === undefined ? undefined : Number(line)
  } catch {
    return undefined // not Linux, or the thread has just ended
  }
}

/** The most resident memory this process ever had. */
export const peakBytes = (): number =>
  1024 * (statusLine("/proc/self/status", "VmHWM") ?? process.resourceUsage().maxRSS)

/** How often a thread of this process waited and was woken; not a number outside of Linux. */
export const wakeUps = (): number => {
  try {
    return readdirSync("/proc/self/task").reduce(
      (sum, thread) => sum + (statusLine(`/proc/self/task/${thread}/status`, "voluntary_ctxt_switches") ?? 0),
      0
    )
  } catch {
    return Number.NaN
  }
}

/** Bytes of the heap after everything that can be collected has been. */
export const heapBytes = async (): Promise<number> => {
  const collect: () => void = "Bun" in globalThis ?
    () => (globalThis as unknown as { Bun: { gc: (force: boolean) => void } }).Bun.gc(true) :
    (globalThis as { gc?: () => void }).gc ?? (() => {
      throw new Error("no gc(): the benchmark starts its programs with --expose-gc")
    })
  for (let round = 0; round < 4; round++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage().heapUsed
}

/** Tells the benchmark a stage that has been reached. */
export const tell = (line: string): void => console.log(line)

/** Tells that everything is ready, and waits until the benchmark has taken its samples and closes the input. */
export const awaitGo = (): Promise<void> => {
  const go = new Promise<void>((resolve) => {
    process.stdin.on("end", () => resolve())
    process.stdin.resume()
  })
  tell("ready")
  return go
}

/** Tells the figures. What was opened stays open until the benchmark ends the program. */
export const report = (figures: Readonly<Record<string, number>>): void => {
  const line = `figures ${JSON.stringify(figures)}`
  if (written === undefined) tell(line)
  else written.then(() => tell(line))
}

/** The arguments of a program: who is measured, the endpoint, and numbers by name. */
export const readArguments = <Name extends string>(): {
  readonly who: string
  readonly endpoint: string
  readonly parameters: Readonly<Record<Name, number>>
} => {
  const [who = "", endpoint = "", parameters = "{}"] = process.argv.slice(2)
  return { who, endpoint, parameters: JSON.parse(parameters) }
}
