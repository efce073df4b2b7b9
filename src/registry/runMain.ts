/**
 * Running a program as the main of a process, under Deno, Bun and Node.
 *
 * @module
 */
import { type Effect, Runtime } from "effect"
import process from "node:process"

/**
 * Milliseconds in which a further signal is the same one: a task runner in front of the process passes on the Ctrl-C that
 * the terminal has sent to both.
 */
const echo = 1000

/**
 * Runs an effect as the main of this process.
 *
 * SIGINT and SIGTERM interrupt it, so that its scopes close (registrations are revoked) before the process exits; one
 * more signal, a second or later after the first, exits at once. The exit code is 0 on success, 1 on failure (which is logged), 130 when interrupted.
 *
 * @example
 * ```ts ignore
 * import { Effect } from "effect"
 * import { registerService, Registry, runMain } from "@effect-etcd/discovery"
 *
 * runMain(
 *   registerService("orders", { endpoints: ["http://10.0.0.5:8080"] }).pipe(
 *     Effect.andThen(Effect.never),
 *     Effect.scoped,
 *     Effect.provide(Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] }))
 *   )
 * )
 * ```
 */
export const runMain: <E, A>(effect: Effect.Effect<A, E>) => void = Runtime.makeRunMain(({ fiber, teardown }) => {
  let signalledAt: number | undefined
  const onSignal = () => {
    if (signalledAt === undefined) {
      signalledAt = performance.now()
      fiber.interruptUnsafe(fiber.id)
    } else if (performance.now() - signalledAt > echo) process.exit(130)
  }
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal)
  fiber.addObserver((exit) => {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal)
    teardown(exit, (code) => {
      if (signalledAt !== undefined || code !== 0) process.exit(code)
    })
  })
})
