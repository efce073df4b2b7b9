/**
 * The minimal permissions for registration and discovery.
 *
 * @module
 */
import { prefix } from "../etcd/KeyRange.ts"
import type { Check } from "../internal/options.ts"
import * as Keyspace from "../registry/model/Keyspace.ts"
import type { Permission } from "./permissions.ts"

/**
 * The tasks of a process in the registry.
 *
 * @since 0.1.0
 * @category options
 */
export interface LeastPrivilege {
  /** The name of the role. */
  readonly role: string
  /** Default: `/services`. */
  readonly namespace?: string
  /** The services that the process registers. With `id`, only this instance. */
  readonly register?: ReadonlyArray<string | { readonly service: string; readonly id: string }>
  /** The services that the process discovers. `"all"`: all of the namespace. */
  readonly discover?: ReadonlyArray<string> | "all"
}

/** Returns the permissions for valid options. Omits those that another one includes. */
export const permissionsFor = (check: Check, options: LeastPrivilege): ReadonlyArray<Permission> => {
  const { discover = [], namespace = Keyspace.defaultNamespace, register = [] } = options
  const keyspace = check.valid("namespace", namespace, Keyspace.make(check.text("namespace", namespace)))
  const name = (option: string, service: string) =>
    check.valid(option, service, keyspace.checkName(check.text(option, service)))

  const all = discover === "all" ? [{ access: "read" as const, ...prefix(keyspace.prefix) }] : []
  const registered = register.map((one) => typeof one === "string" ? { service: one } : one)
    .map((one) => ({ ...one, service: name("register", one.service) }))
  const whole = new Set(registered.filter((one) => !("id" in one)).map(({ service }) => service))
  const services = Array.from(whole, (service): Permission => ({
    access: "readwrite",
    ...prefix(keyspace.servicePrefix(service))
  }))
  const instances = registered.flatMap((one): ReadonlyArray<Permission> =>
    "id" in one && !whole.has(one.service) ?
      [{
        access: "readwrite",
        key: keyspace.key(one.service, check.valid("register", one.id, keyspace.checkId(one.id)))
      }] :
      []
  )
  const read = new Set(discover === "all" ? [] : discover.map((service) => name("discover", service)))
  const discovered = Array.from(read)
    .filter((service) => !whole.has(service))
    .map((service): Permission => ({ access: "read", ...prefix(keyspace.servicePrefix(service)) }))
  const permissions = [...all, ...services, ...instances, ...discovered]
  return permissions.length > 0 ?
    permissions :
    check.refuse("register", options.register, "register or discover must have at least one service")
}
