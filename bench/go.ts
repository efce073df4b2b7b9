/** The contenders written in Go, where Go and its packages are at hand. */
export const goProgram = (_program: string): string | undefined => undefined
