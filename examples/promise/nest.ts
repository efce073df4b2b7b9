// A provider with the lifecycle hooks of NestJS. A host calls the hooks in the order of NestJS, so that the program
// runs without NestJS. In NestJS, `Discovery` is an `@Injectable()`, and main.ts does the work of `main`.
//
//     ETCD_ENDPOINTS=http://127.0.0.1:2379 node examples/promise/nest.ts
//
// Without ETCD_ENDPOINTS it registers in memory.
import { once } from "node:events"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import process from "node:process"
import { type Client, connect } from "../../src/promise/mod.ts"

/** The provider. Others inject it, and call services by name with `discovery.client.fetch`. */
class Discovery {
  #client: Client | undefined

  get client(): Client {
    if (this.#client === undefined) throw new Error("cannot use the registry: onModuleInit has not run")
    return this.#client
  }

  async onModuleInit(): Promise<void> {
    const endpoints = process.env["ETCD_ENDPOINTS"]?.split(",")
    this.#client = await connect(endpoints === undefined ? { memory: true } : { endpoints })
  }

  /** NestJS runs onModuleInit and onApplicationBootstrap before it listens: call this after `app.listen`. */
  async register(name: string, url: string): Promise<void> {
    const registration = await this.client.register(name, { endpoints: [url], drain: "1 second" })
    console.log(`registered ${registration.key}`)
  }

  /** Deletes the key while the server still serves. In onApplicationShutdown the server would already be closed. */
  async onModuleDestroy(): Promise<void> {
    await this.#client?.close() // publishes "draining", waits a second, and deletes the key
    console.log("the key is deleted")
  }
}

/** A controller, for `GET /orders/7`. */
class OrdersController {
  find(path: string): string {
    return JSON.stringify({ id: path.split("/").at(-1) })
  }

  onApplicationShutdown(signal: string): void {
    console.log(`the server has stopped after ${signal}`)
  }
}

/** The work of NestJS, for one provider and one controller. */
class Host {
  readonly #discovery: Discovery
  readonly #controller: OrdersController
  readonly #server: Server

  constructor(discovery: Discovery, controller: OrdersController) {
    this.#discovery = discovery
    this.#controller = controller
    this.#server = createServer((request, response) => response.end(controller.find(request.url ?? "/")))
  }

  async listen(port: number): Promise<string> {
    await this.#discovery.onModuleInit()
    this.#server.listen(port, "127.0.0.1")
    await once(this.#server, "listening")
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(signal: string): Promise<void> {
    await this.#discovery.onModuleDestroy()
    const closed = once(this.#server, "close")
    this.#server.close()
    this.#server.closeIdleConnections()
    await closed
    this.#controller.onApplicationShutdown(signal)
  }
}

const main = async (): Promise<void> => {
  const discovery = new Discovery()
  const app = new Host(discovery, new OrdersController())
  const url = await app.listen(Number(process.env["PORT"] ?? 0)) // in NestJS: app.listen(port), app.getUrl()
  process.once("SIGTERM", (signal) => app.close(signal)) // in NestJS: app.enableShutdownHooks()
  process.once("SIGINT", (signal) => app.close(signal))
  await discovery.register("orders", url) // in NestJS: app.get(Discovery).register(…)
}

await main()
