import { goZero } from "../interop/goZero.ts"
import { Service } from "../registry/model/Service.ts"

/** Whose layout the keys and values of a service have: this package's own, or that of go-zero. */
export type Layout = "own" | "goZero"

/** The service behind a declared name. */
export const serviceFor = (name: string, layout: Layout): Service =>
  layout === "goZero" ? Service.make(name, { codec: goZero }) : Service.make(name)
