/**
 * Counts what is alive in this process. Imported before anything else, so that every timer is counted.
 *
 * @module
 */
import process from "node:process"

type Handler = (...args: Array<unknown>) => void

const timers = new Set<unknown>()
const { clearInterval, clearTimeout, setInterval, setTimeout } = globalThis

const counted = {
  setTimeout: (handler: Handler, delay?: number, ...args: Array<unknown>) => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      handler(...args)
    }, delay)
    timers.add(timer)
    return timer
  },
  clearTimeout: (timer: ReturnType<typeof setTimeout> | undefined) => {
    timers.delete(timer)
    clearTimeout(timer)
  },
  setInterval: (handler: Handler, delay?: number, ...args: Array<unknown>) => {
    const timer = setInterval(() => handler(...args), delay)
    timers.add(timer)
    return timer
  },
  clearInterval: (timer: ReturnType<typeof setInterval> | undefined) => {
    timers.delete(timer)
    clearInterval(timer)
  }
}
Object.assign(globalThis, counted)

let fibers = 0

/** Effect calls these for each fiber: `Metric.FiberRuntimeMetrics`. */
export const fiberMetrics = {
  recordFiberStart: (): void => void fibers++,
  recordFiberEnd: (): void => void fibers--
}

interface Collector {
  readonly gc?: () => void
  readonly Bun?: { readonly gc: (force: boolean) => void }
}

/** What is alive now, after a garbage collection. */
export const census = (): { readonly fibers: number; readonly timers: number; readonly "heap MB": number } => {
  const { Bun, gc } = globalThis as typeof globalThis & Collector
  gc?.()
  Bun?.gc(true)
  return { fibers, timers: timers.size, "heap MB": process.memoryUsage().heapUsed / 2 ** 20 }
}
