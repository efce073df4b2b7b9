/**
 * The messages of etcd's Auth service as protobuf.
 *
 * @module
 */
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire"
import { toBytes } from "../../KeyRange.ts"
import { type Decoder, decodeWith, delimited, type Encoder, encodeWith, skip, writeBytes } from "./wire.ts"

const readToken = (reader: BinaryReader, end: number): string => {
  let token = ""
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(2)) token = reader.string()
    else skip(reader, tag)
  }
  return token
}

/** Decodes the token of an `AuthenticateResponse`. */
export const decodeToken: Decoder<string> = decodeWith(readToken)

interface Credentials {
  readonly name: string
  readonly password: string
}

const writeCredentials = (writer: BinaryWriter, { name, password }: Credentials): void => {
  writeBytes(writer, 1, toBytes(name))
  writeBytes(writer, 2, toBytes(password))
}

export const encodeAuthenticate: Encoder<[credentials: Credentials]> = encodeWith(writeCredentials)
