/**
 * Reads a stream into memory up to a size.
 *
 * @module
 */

/**
 * Returns the bytes of a stream, or a stream of the same content if it has more than `maxBytes`. An aborted signal
 * cancels the stream and rejects with its reason.
 */
export const readUpTo = async (
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
  signal: AbortSignal
): Promise<Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>> => {
  const reader = stream.getReader()
  const cancel = () => void reader.cancel(signal.reason).catch(() => {})
  signal.addEventListener("abort", cancel)
  try {
    return await read(reader, maxBytes, signal)
  } finally {
    signal.removeEventListener("abort", cancel)
  }
}

const read = async (
  reader: ReadableStreamDefaultReader<Uint8Array>,
  maxBytes: number,
  signal: AbortSignal
): Promise<Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    signal.throwIfAborted()
    if (done) return concat(chunks, size)
    chunks.push(value)
    size += value.byteLength
    if (size > maxBytes) return rest(chunks, reader)
  }
}

const concat = (chunks: ReadonlyArray<Uint8Array>, size: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.byteLength
  }
  return bytes
}

/** The chunks that were read, then the rest. */
const rest = (
  chunks: ReadonlyArray<Uint8Array>,
  reader: ReadableStreamDefaultReader<Uint8Array>
): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>({
    start: (controller) => chunks.forEach((chunk) => controller.enqueue(chunk)),
    pull: async (controller) => {
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason)
  })
