/**
 * A DNS server for tests: answers SRV questions with given records, over UDP on loopback.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { Buffer } from "node:buffer"
import { createSocket } from "node:dgram"

export interface Srv {
  readonly priority: number
  readonly weight: number
  readonly port: number
  readonly target: string
}

const encodeName = (name: string): Buffer =>
  Buffer.concat([
    ...(name === "" ? [] : name.split(".")).flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0])
  ])

/** The name of the first question, and where its type begins. */
const readName = (message: Buffer): readonly [name: string, end: number] => {
  const labels: Array<string> = []
  let at = 12
  while (at < message.length && message[at] !== 0) {
    const length = message[at] ?? 0
    labels.push(message.subarray(at + 1, at + 1 + length).toString())
    at += 1 + length
  }
  return [labels.join("."), at + 1]
}

const u16 = (...numbers: ReadonlyArray<number>): Buffer =>
  Buffer.from(numbers.flatMap((number) => [number >> 8 & 0xff, number & 0xff]))

const responseTo = (question: Buffer, records: ReadonlyArray<Srv> | undefined, code: number): Buffer => {
  const [, end] = readName(question)
  const answers = (records ?? []).map(({ port, priority, target, weight }) => {
    const data = Buffer.concat([u16(priority, weight, port), encodeName(target)])
    return Buffer.concat([u16(0xc00c, 33, 1, 0, 60, data.length), data])
  })
  return Buffer.concat([
    question.subarray(0, 2),
    u16(0x8180 | code, 1, answers.length, 0, 0),
    question.subarray(12, end + 4),
    ...answers
  ])
}

/** Starts the server and returns its `address:port`. A name without records does not exist. */
export const startDns = (
  zone: Readonly<Record<string, ReadonlyArray<Srv> | "fails" | "silent">>
): Effect.Effect<string, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly address: string; readonly close: () => void }, Error>((resume) => {
      const socket = createSocket("udp4")
      socket.on("message", (message, { address, port }) => {
        const records = zone[readName(Buffer.from(message))[0].toLowerCase()]
        if (records === "silent") return
        const response = records === "fails" ?
          responseTo(Buffer.from(message), undefined, 2) :
          responseTo(Buffer.from(message), records, records === undefined ? 3 : 0)
        socket.send(response, port, address)
      })
      socket.once("error", (error) => resume(Effect.fail(error)))
      socket.bind(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          address: `127.0.0.1:${socket.address().port}`,
          close: () => socket.close()
        })))
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ address }) => address))
