/**
 * Hand-written gRPC over `node:http2` and protobuf, with only what the floor needs.
 *
 * @module
 */
import { Buffer } from "node:buffer"
import http2 from "node:http2"

const varint = (value: number | bigint): ReadonlyArray<number> => {
  const bytes: Array<number> = []
  for (let rest = BigInt(value);; rest >>= 7n) {
    if (rest < 0x80n) return [...bytes, Number(rest)]
    bytes.push(Number(rest & 0x7fn) | 0x80)
  }
}

/** A message: numbers as varints, texts and messages with their length. */
export const message = (fields: Readonly<Record<number, number | bigint | string | Uint8Array>>): Buffer =>
  Buffer.concat(
    Object.entries(fields).flatMap(([field, value]) => {
      if (typeof value === "number" || typeof value === "bigint") {
        return [Buffer.from([...varint(Number(field) << 3), ...varint(value)])]
      }
      const bytes = typeof value === "string" ? Buffer.from(value) : value
      return [Buffer.from([...varint(Number(field) << 3 | 2), ...varint(bytes.length)]), bytes]
    })
  )

/** Calls `onField` for each field of a message. Numbers beyond 2^53 lose digits: read ids with {@link readId}. */
export const read = (
  bytes: Buffer,
  onField: (field: number, value: number, bytes: Buffer) => void
): void => {
  let at = 0
  const number = (): number => {
    let value = 0
    for (let factor = 1;; factor *= 128) {
      const byte = bytes[at++] ?? 0
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
  }
  while (at < bytes.length) {
    const tag = number()
    const value = number()
    if ((tag & 7) === 0) onField(tag >> 3, value, bytes)
    else {
      onField(tag >> 3, 0, bytes.subarray(at, at + value))
      at += value
    }
  }
}

const framed = (payload: Uint8Array): Buffer => {
  const frame = Buffer.alloc(5 + payload.length)
  frame.writeUInt32BE(payload.length, 1)
  frame.set(payload, 5)
  return frame
}

/** A bidirectional stream on one connection. */
export interface Stream {
  readonly send: (payload: Uint8Array) => void
}

export interface Connection {
  readonly call: (path: string, payload: Uint8Array) => Promise<Buffer>
  readonly stream: (path: string, onMessage: (payload: Buffer) => void) => Stream
}

export const connectTo = (endpoint: string): Connection => {
  let session: http2.ClientHttp2Session | undefined
  const open = (path: string, onMessage: (payload: Buffer) => void): http2.ClientHttp2Stream => {
    session ??= http2.connect(endpoint, { settings: { initialWindowSize: 4 << 20 } })
    const request = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers"
    })
    let chunks: Array<Buffer> = []
    let length = 0
    request.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      for (;;) {
        const [first] = chunks
        const needed = first === undefined || first.length < 5 ? 5 : 5 + first.readUInt32BE(1)
        if (length < needed) return
        const all = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks)
        const size = 5 + all.readUInt32BE(1)
        if (length < size) return void (chunks = [all])
        length -= size
        chunks = length === 0 ? [] : [all.subarray(size)]
        onMessage(all.subarray(5, size))
      }
    })
    return request
  }
  return {
    call: (path, payload) =>
      new Promise((resolve, reject) => {
        let answer: Buffer = Buffer.alloc(0)
        const request = open(path, (payload) => {
          answer = payload
        })
        request.on("trailers", (trailers) => {
          if (trailers["grpc-status"] === "0") resolve(answer)
          else reject(new Error(`${path}: ${trailers["grpc-message"]}`))
        })
        request.on("error", reject)
        request.end(framed(payload))
      }),
    stream: (path, onMessage) => {
      const request = open(path, onMessage)
      return { send: (payload) => void request.write(framed(payload)) }
    }
  }
}
