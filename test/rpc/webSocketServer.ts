/**
 * A WebSocket server (RFC 6455) for tests: messages of one frame, on `node:http`, which all three runtimes have.
 *
 * @module
 */
import type { Socket } from "effect/socket"
import { createHash } from "node:crypto"
import { createServer, type Server } from "node:http"
import type { Duplex } from "node:stream"

const accept = (key: string): string =>
  createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")

/** A frame from the server: final, of this type, not masked. */
const frame = (opcode: number, payload: Uint8Array): Uint8Array => {
  const { length } = payload
  const head = length < 126 ? [0x80 | opcode, length] : [0x80 | opcode, 126, length >> 8, length & 0xff]
  return Buffer.concat([Uint8Array.from(head), payload])
}

const opcodes = { text: 1, close: 8 } as const

/** The streams of a connection: the payloads of frames. */
const streamsOf = (connection: Duplex): Socket.InputTransformStream => {
  let isOver = false
  return ({
    readable: new ReadableStream<Uint8Array>({
      start: (controller) => {
        let buffer: Buffer = Buffer.alloc(0)
        const end = () => {
          if (!isOver) controller.close()
          isOver = true
        }
        connection.on("data", (chunk: Uint8Array) => {
          buffer = Buffer.concat([buffer, chunk])
          while (!isOver && buffer.length >= 6) {
            const short = (buffer[1] ?? 0) & 0x7f
            const maskAt = short === 126 ? 4 : 2
            const length = short === 126 ? buffer.readUInt16BE(2) : short
            if (buffer.length < maskAt + 4 + length) return
            const mask = buffer.subarray(maskAt, maskAt + 4)
            const payload = buffer.subarray(maskAt + 4, maskAt + 4 + length).map((byte, at) =>
              byte ^ (mask[at % 4] ?? 0)
            )
            const opcode = (buffer[0] ?? 0) & 0x0f
            buffer = buffer.subarray(maskAt + 4 + length)
            if (opcode === opcodes.close) {
              connection.end(frame(opcodes.close, payload))
              end()
            } else controller.enqueue(new Uint8Array(payload))
          }
        })
        connection.on("close", end)
        connection.on("error", end)
      },
      cancel: () => {
        isOver = true
        connection.destroy()
      }
    }),
    writable: new WritableStream<Uint8Array>({
      write: (chunk) => void connection.write(frame(opcodes.text, chunk)),
      close: () => void connection.end(frame(opcodes.close, new Uint8Array())),
      abort: () => void connection.destroy()
    })
  })
}

/** An HTTP server that upgrades requests of one path. */
export const createWebSocketServer = (
  path: string,
  onConnection: (connection: Duplex, streams: Socket.InputTransformStream) => void
): Server =>
  createServer((_, response) => response.writeHead(404).end()).on("upgrade", (request, connection: Duplex) => {
    if (request.url !== path) return void connection.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept(request.headers["sec-websocket-key"] ?? "")}\r\n\r\n`
    )
    onConnection(connection, streamsOf(connection))
  })
