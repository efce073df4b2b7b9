/**
 * Runs `run` with stack capture off. For errors that are created often and whose stacks are never read.
 *
 * Capturing a stack takes time, and V8 keeps alive what its frames refer to.
 */
export const withoutStack = <A>(run: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return run()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
