import { goZero } from "../interop/goZero.ts"
import * as Service from "../registry/model/Service.ts"

/** Whose layout the keys and values of a service have: this package's own, or that of go-zero. */
export type Layout = "own" | "goZero"

/** The service behind a declared name. */
export const serviceFor = (name: string, layout: Layout): Service.Service =>
  layout === "goZero" ? Service.make(name, { codec: goZero }) : Service.make(name)
