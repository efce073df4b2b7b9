import { EtcdError, InvalidArgument } from "./EtcdError.ts"

/** The error for an invalid request that is found before anything is sent. */
export const invalidArgument = (method: string, detail: string, key?: string): EtcdError =>
  new EtcdError({ reason: new InvalidArgument({ detail }), method, ...(key === undefined ? {} : { key }) })
