/**
 * Values of keys as text and as JSON.
 *
 * @module
 */

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** The text of a value. Bytes that are not UTF-8 become replacement characters. */
export const textOf = (value: Uint8Array): string => lossy.decode(value)

/** A value as members of a JSON object: `value`, or `base64` if it is not UTF-8. */
export const jsonOfValue = (value: Uint8Array): { readonly value: string } | { readonly base64: string } => {
  try {
    return { value: strict.decode(value) }
  } catch {
    return { base64: btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join("")) }
  }
}
