/**
 * Overflows the stack, on every runtime. How deep a value may be before a schema overflows depends on what the compiler of
 * the runtime has made of it.
 */
export const overflow = (): number => 1 + overflow()
