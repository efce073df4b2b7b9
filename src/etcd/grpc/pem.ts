/**
 * Certificates and keys as PEM text from files and environment variables. The text may start with a byte order mark,
 * have `\n` or blanks instead of line breaks, be indented, or hold certificate and key together.
 *
 * Each function throws an `Error` whose message is the rule that the text breaks. No message quotes the text.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import { messageOf } from "./failures.ts"

/** Whether a value is PEM text rather than a path. */
export const isPem = (value: string): boolean => value.includes("-----BEGIN ")

interface Block {
  readonly label: string
  readonly text: string
}

const blocksOf = (pem: string): ReadonlyArray<Block> =>
  Array.from(
    withLineBreaks(pem).matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g),
    ([, label = "", body = ""]) => ({
      label,
      text: `-----BEGIN ${label}-----\n${linesOf(body)}\n-----END ${label}-----\n`
    })
  )

/** Variables often have `\n`, `\r\n` or, after two rounds of quoting, `\\n` instead of line breaks. */
const withLineBreaks = (pem: string): string => pem.replaceAll(/(?:\\+r)?\\+n|\\+r/g, "\n")

/** The lines of a block. OpenSSL accepts them only as PEM has them, without indents and blanks. */
const linesOf = (body: string): string =>
  // A block with headers, such as `Proc-Type: 4,ENCRYPTED`.
  body.includes(":") ?
    body.trim().split(/\r?\n/).map((line) => line.trim()).join("\n") :
    body.replaceAll(/\s+/g, "").replaceAll(/.{64}(?=.)/g, "$&\n")

const attempt = <A>(run: () => A, rule: (detail: string) => string): A => {
  try {
    return run()
  } catch (error) {
    throw new Error(rule(messageOf(error)))
  }
}

/** The certificates of a text, each checked. */
export interface Chain {
  readonly pem: string
  readonly first: X509Certificate
}

/** The certificates of a text, at least one. */
export const certificatesOf = (pem: string): Chain => {
  const blocks = blocksOf(pem).filter(({ label }) => label.endsWith("CERTIFICATE"))
  const begun = pem.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----/g)?.length ?? 0
  if (blocks.length > 0 && blocks.length < begun) throw new Error("one of its CERTIFICATE blocks has no end")
  const [first] = blocks.map(({ text }, index) =>
    attempt(() => new X509Certificate(text), (detail) => `its CERTIFICATE block ${index + 1} is invalid (${detail})`)
  )
  if (first === undefined) throw new Error("it must have a complete CERTIFICATE block in PEM format")
  return { pem: blocks.map(({ text }) => text).join(""), first }
}

/** Whether a text has a private key. */
export const hasKey = (pem: string): boolean => blocksOf(pem).some(({ label }) => label.endsWith("PRIVATE KEY"))

/** The private key of a text. */
export const keyOf = (pem: string, passphrase: string | undefined): KeyObject => {
  const block = blocksOf(pem).find(({ label }) => label.endsWith("PRIVATE KEY"))
  if (block === undefined) throw new Error("it must have a complete PRIVATE KEY block in PEM format")
  const isEncrypted = block.label.startsWith("ENCRYPTED") || block.text.includes("Proc-Type: 4,ENCRYPTED")
  if (isEncrypted && passphrase === undefined) throw new Error("it is encrypted; set tls.passphrase")
  return attempt(
    () => createPrivateKey({ key: block.text, ...(isEncrypted && { passphrase }) }),
    (detail) =>
      isEncrypted ? `tls.passphrase does not decrypt it (${detail})` : `its PRIVATE KEY block is invalid (${detail})`
  )
}

const signing: ReadonlySet<string> = new Set(["rsa", "rsa-pss", "ec", "ed25519", "ed448"])
const minRsaBits = 2048

/** Checks that a key can authenticate a client and belongs to its certificate, which is the first of the chain. */
export const checkPair = ({ first }: Chain, key: KeyObject): void => {
  const { asymmetricKeyDetails, asymmetricKeyType = "" } = key
  if (!signing.has(asymmetricKeyType)) {
    throw new Error(`it must be able to sign, which ${asymmetricKeyType} keys cannot`)
  }
  const bits = asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < minRsaBits) {
    throw new Error(`an RSA key must have at least ${minRsaBits} bits, this one has ${bits}`)
  }
  if (!first.checkPrivateKey(key)) throw new Error("it must be the key of the first certificate in tls.cert")
}
