/**
 * The interface of a contender in the benchmark. Each contender is a separate module, loaded by name, so that a process
 * loads only one client.
 *
 * @module
 */
import { isAbsolute } from "node:path"
import { pathToFileURL } from "node:url"

export interface Options {
  /** Endpoints, separated by commas. */
  readonly endpoint: string
  /** Seconds. */
  readonly ttl: number
  /** Metadata of strings and numbers behind a schema. By default strings only. */
  readonly typed: boolean
  /** All registrations share one lease. By default each has its own. */
  readonly sharedLease?: boolean
}

export interface Client {
  /** Registers one instance and completes when it is in etcd. */
  readonly register: (id: string) => Promise<unknown>
  /** Registers all of them at once, as a program with many instances would. */
  readonly registerAll: (ids: ReadonlyArray<string>) => Promise<unknown>
  /** Ends every registration, as a program does when it exits. */
  readonly releaseAll: () => Promise<unknown>
  /** Reads the service once and returns the number of its instances. */
  readonly firstSet: () => Promise<number>
  /** Follows the service. Calls `onMark` with the mark of instance `i0`, at the start and after each change. */
  readonly follow: (onMark: (mark: string) => void) => Promise<unknown>
}

/** Makes a client and loads all its modules. The first call opens the connection. */
export type Connect = (options: Options) => Client | Promise<Client>

/** The client of a contender. `file` is a name in this folder, or the path of a built module. */
export const load = async (file: string): Promise<Connect> => {
  const { connect }: { readonly connect: Connect } = await import(
    isAbsolute(file) ? pathToFileURL(file).href : `./${file}.ts`
  )
  return connect
}
