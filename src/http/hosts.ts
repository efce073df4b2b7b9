/**
 * Which URLs go to which service.
 *
 * @module
 */
import * as Service from "../registry/model/Service.ts"

/** A service that a URL goes to. */
export interface Target {
  /** The host that stands for the service, `""` for relative URLs. */
  readonly host: string
  /** Whether only `https` endpoints will do. */
  readonly isSecure: boolean
}

/** The options that decide which URLs go to which service. */
export interface HostOptions {
  readonly service?: Service.ServiceLike
  readonly services?: Readonly<Record<string, Service.ServiceLike>>
  readonly isService?: (url: URL) => boolean
}

/** The base of relative URLs. Its host is no service, because it has a dot. */
const relativeBase = "relative://relative.invalid"

/** A host without a dot and a port, except `localhost`. */
const isName = ({ hostname, port }: URL): boolean =>
  port === "" && /^[^.:[\]]+$/.test(hostname) && hostname !== "localhost"

/** The hosts of services. */
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

  /** The services that were given. */
  get services(): Iterable<Service.AnyService> {
    return this.#byHost.values()
  }

  /** The service of a host. */
  serviceOf(host: string): Service.AnyService {
    return this.#byHost.get(host) ?? Service.make(host)
  }

  /** The service that a URL goes to, or `undefined`. */
  targetOf(url: URL): Target | undefined {
    const isSecure = url.protocol === "https:"
    if (this.#hasDefault && url.protocol === "relative:") return { host: "", isSecure }
    if (url.protocol !== "http:" && !isSecure) return undefined
    if (this.#byHost.has(url.host)) return { host: url.host, isSecure }
    return this.#isService(url) ? { host: url.hostname, isSecure } : undefined
  }
}

/** The URL of a request, which may be relative. `undefined` if it is invalid. */
export const urlOf = (text: string): URL | undefined => URL.parse(text, relativeBase) ?? undefined
