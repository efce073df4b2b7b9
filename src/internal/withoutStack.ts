/** Runs what makes errors whose stacks nobody sees: taking one costs time, and V8 keeps what its frames hold. */
export const withoutStack = <A>(run: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return run()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
