/**
 * The secret of the tests, which must not appear in their output.
 *
 * @module
 */

/** Every password of the tests contains this. */
export const secret = "s3cret"

/** The message when it was printed. */
export const secretPrinted = `\na secret of the tests ("${secret}") was printed`

/** Returns a function that receives output in pieces, and returns whether the secret has appeared so far. */
export const makeSecretSearch = (): (text: string) => boolean => {
  let found = false
  let tail = ""
  return (text) => {
    tail += text
    found ||= tail.includes(secret)
    tail = tail.slice(-secret.length)
    return found
  }
}
