/**
 * Running a program as the main of a process, under Deno, Bun and Node.
 *
 * @module
 */
import { Cause, type Effect, Exit, Runtime } from "effect"
import process from "node:process"

/**
 * A second signal within this time is the same Ctrl-C: a task runner passes on what the terminal has sent to both
 * processes.
 */
const duplicateSignalMillis = 1000

/** The signals that end a process in good order, and their numbers. */
const signals = { SIGINT: 2, SIGTERM: 15 } as const

/**
 * Runs an effect as the main of this process.
 *
 * **Details**
 *
 * SIGINT and SIGTERM interrupt the effect, so that its scopes close (registrations are released) before the process
 * exits. A second signal, one second or later after the first, exits at once.
 *
 * The exit code is 0 after a success and after SIGTERM, 130 after SIGINT, 1 after a failure, which is logged, and 128
 * plus the number of the signal after a second signal.
 *
 * **Example** (Registering for as long as the process runs)
 *
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
 *
 * @since 0.1.0
 * @category running
 */
export const runMain: <E, A>(effect: Effect.Effect<A, E>) => void = Runtime.makeRunMain(({ fiber, teardown }) => {
  let first: { readonly signal: keyof typeof signals; readonly at: number } | undefined
  const onSignal = (signal: keyof typeof signals) => {
    if (first === undefined) {
      first = { signal, at: performance.now() }
      fiber.interruptUnsafe(fiber.id)
    } else if (performance.now() - first.at > duplicateSignalMillis) process.exit(128 + signals[signal])
  }
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal)
  fiber.addObserver((exit) => {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal)
    teardown(exit, (code) => {
      const isClean = Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
      if (first !== undefined) process.exit(isClean ? first.signal === "SIGTERM" ? 0 : 130 : code)
      if (code !== 0) process.exit(code)
    })
  })
})
