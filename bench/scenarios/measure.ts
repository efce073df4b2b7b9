/** What the programs of the benchmark share: the value of an instance, quantiles, and the one line they answer with. */
import process from "node:process"

export const service = "bench"

/** About 230 bytes, as an instance of ours is written. */
export const instanceValue = (id: string, mark: string): string =>
  JSON.stringify({
    id,
    name: service,
    version: "1.4.2",
    metadata: { mark, region: "eu-central-1", build: "2f9c1e7a55d04c0b" },
    endpoints: [`http://10.0.0.5:8080`, `grpc://10.0.0.5:9090`],
    weight: 1,
    zone: "a",
    status: "up"
  })

export const keyOf = (id: string): string => `/services/${service}/${id}`

/** Milliseconds of the epoch with fractions, comparable between processes of one machine. */
export const now = (): number => performance.timeOrigin + performance.now()

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/** Microseconds of CPU, user and system. */
export const cpu = (): number => {
  const { system, user } = process.cpuUsage()
  return user + system
}

export const residentBytes = (): number => process.memoryUsage().rss

/** Tells the benchmark the figures and ends the program. */
export const report = (figures: Readonly<Record<string, number>>): never => {
  console.log(`figures ${JSON.stringify(figures)}`)
  process.exit(0)
}

/** The arguments of a program: who is measured, the endpoint, and a number. */
export const readArguments = (): { readonly who: string; readonly endpoint: string; readonly count: number } => {
  const [who = "", endpoint = "", count = ""] = process.argv.slice(2)
  return { who, endpoint, count: Number(count) }
}
