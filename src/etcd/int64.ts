/** The rule that a value breaks which is not a 64-bit integer: its upper bits would be lost silently. */
export const int64Violation = (name: string, value: bigint): string | undefined => {
  if (typeof value !== "bigint") return `${name} must be a bigint, got ${value}`
  return BigInt.asIntN(64, value) === value ? undefined : `${name} must fit into 64 bits, got ${value}`
}
