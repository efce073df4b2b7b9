/**
 * What nothing that the tests print may contain.
 *
 * @module
 */

/** Every password of the tests contains this. */
export const secret = "s3cret"

/** What to say when it was printed. */
export const secretPrinted = `\na secret of the tests ("${secret}") was printed`

/** Is told what is printed, in pieces, and answers whether the secret has been in it so far. */
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
