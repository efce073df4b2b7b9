/**
 * Maps URLs to services.
 *
 * @module
 */
import * as Service from "../registry/model/Service.ts"

/** A service that a URL refers to. */
export interface Target {
  /** The host that refers to the service. `""` for relative URLs. */
  readonly host: string
  /** Whether the request needs an `https` endpoint. */
  readonly isSecure: boolean
}

/** The options that map URLs to services. */
export interface HostOptions {
  readonly service?: Service.ServiceLike
  readonly services?: Readonly<Record<string, Service.ServiceLike>>
  readonly isService?: (url: URL) => boolean
}

/** The base of relative URLs. Its host is never a service, because it has a dot. */
const relativeBase = "relative://relative.invalid"

/** Whether a host has no dot and no port, and is not `localhost`. */
const isName = ({ hostname, port }: URL): boolean =>
  port === "" && /^[^.:[\]]+$/.test(hostname) && hostname !== "localhost"

/** Finds the services of hosts. */
export class Hosts {
  readonly #byHost = new Map<string, Service.AnyService>()
  readonly #isService: (url: URL) => boolean
  readonly #hasDefault: boolean

  constructor({ isService, service, services = {} }: HostOptions) {
    for (const [host, one] of Object.entries(services)) this.#byHost.set(host.toLowerCase(), Service.fromLike(one))
    this.#hasDefault = service !== undefined
    if (service !== undefined) {
      const value = Service.fromLike(service)
      this.#byHost.set("", value)
      this.#byHost.set(value.name.toLowerCase(), value)
    }
    this.#isService = isService ?? (this.#hasDefault ? () => false : isName)
  }

  /** The services in the options. */
  get services(): Iterable<Service.AnyService> {
    return this.#byHost.values()
  }

  /** The service of a host. */
  serviceOf(host: string): Service.AnyService {
    return this.#byHost.get(host) ?? Service.make(host)
  }

  /** Returns the service that a URL refers to, or `undefined`. */
  targetOf(url: URL): Target | undefined {
    const isSecure = url.protocol === "https:"
    if (this.#hasDefault && url.protocol === "relative:") return { host: "", isSecure }
    if (url.protocol !== "http:" && !isSecure) return undefined
    if (this.#byHost.has(url.host)) return { host: url.host, isSecure }
    return this.#isService(url) ? { host: url.hostname, isSecure } : undefined
  }
}

/** Returns the URL of a request, which may be relative. `undefined` if it is invalid. */
export const urlOf = (text: string): URL | undefined => URL.parse(text, relativeBase) ?? undefined
