/**
 * The services of the fleet. `gateway` calls `orders`, which calls `payments` and `inventory`, all by name.
 *
 * @module
 */
import type { Definition } from "./instance.ts"

/** The services, with a `fetch` that accepts their names as hosts. */
export const definitions = (fetchService: typeof fetch): ReadonlyArray<Definition> => {
  const get = async (url: string): Promise<string> => {
    const response = await fetchService(url)
    if (!response.ok) throw new Error(`${url}: status ${response.status}`)
    return response.text()
  }
  const healthOr = (respond: (id: string, path: string) => Promise<string>) => (id: string, path: string) =>
    path === "/health" ? Promise.resolve("ok") : respond(id, path)
  return [
    { name: "payments", respond: healthOr((id) => Promise.resolve(`paid by ${id}`)) },
    { name: "inventory", respond: healthOr((id) => Promise.resolve(`reserved by ${id}`)) },
    {
      name: "orders",
      respond: healthOr(async (id, path) =>
        `${id}: ${(await Promise.all([get(`http://payments${path}`), get(`http://inventory${path}`)])).join(", ")}`
      )
    }
  ]
}
