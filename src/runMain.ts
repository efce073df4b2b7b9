/**
 * Running a program as the main of a process, under Deno, Bun and Node.
 *
 * @module
 */
import { type Effect, Runtime } from "effect"
import process from "node:process"

/**
 * Runs an effect as the main of this process.
 *
 * SIGINT and SIGTERM interrupt it, so that its scopes close (registrations are revoked) before the process exits; a
 * second signal exits at once. The exit code is 0 on success, 1 on failure (which is logged), 130 when interrupted.
 *
 * @example
 * ```ts ignore
 * import { Effect } from "effect"
 * import { registerService, Registry, runMain } from "@effect-etcd/discovery"
 *
 * runMain(
 *   registerService({ name: "orders", endpoints: ["http://10.0.0.5:8080"] }).pipe(
 *     Effect.andThen(Effect.never),
 *     Effect.scoped,
 *     Effect.provide(Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] }))
 *   )
 * )
 * ```
 */
export const runMain: <E, A>(effect: Effect.Effect<A, E>) => void = Runtime.makeRunMain(({ fiber, teardown }) => {
  let isSignalled = false
  const onSignal = () => {
    if (isSignalled) process.exit(130)
    isSignalled = true
    fiber.interruptUnsafe(fiber.id)
  }
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal)
  fiber.addObserver((exit) => {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal)
    teardown(exit, (code) => {
      if (isSignalled || code !== 0) process.exit(code)
    })
  })
})
