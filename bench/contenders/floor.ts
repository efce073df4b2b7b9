/** The floor of a runtime: the same work with `node:http2` only, without error handling. */
import type { Buffer } from "node:buffer"
import { instanceValue, keyOf, type Parsed, prefixOf } from "../programs/measure.ts"
import type { Connect } from "./Contender.ts"
import { connectTo, message, read } from "./grpc.ts"

const rangeEnd = prefixOf().slice(0, -1) + "0" // "0" follows "/"

/** Lease ids of the client's choice, small enough for a double. */
let nextLease = Math.floor(Math.random() * 2 ** 40)

const parse = (kv: Buffer): { readonly key: string; readonly instance: Parsed | undefined } => {
  let key = ""
  let value = ""
  read(kv, (field, _, bytes) => {
    if (field === 1) key = bytes.toString("latin1")
    if (field === 5) value = bytes.toString()
  })
  return { key, instance: value === "" ? undefined : JSON.parse(value) }
}

export const connect: Connect = ({ endpoint, ttl, typed }) => {
  const etcd = connectTo(endpoint.split(",")[0] ?? "")
  const leases: Array<number> = []
  let heartbeats: ReturnType<typeof etcd.stream> | undefined
  const register = async (id: string): Promise<void> => {
    const lease = ++nextLease
    leases.push(lease)
    await etcd.call("/etcdserverpb.Lease/LeaseGrant", message({ 1: ttl, 2: lease }))
    await etcd.call("/etcdserverpb.KV/Put", message({ 1: keyOf(id), 2: instanceValue(id, "", typed), 3: lease }))
    heartbeats ??= etcd.stream("/etcdserverpb.Lease/LeaseKeepAlive", () => {})
    setInterval(() => heartbeats?.send(message({ 1: lease })), ttl * 1000 / 3)
  }
  const instances = new Map<string, Parsed>()
  const readAll = async (): Promise<void> => {
    const answer = await etcd.call("/etcdserverpb.KV/Range", message({ 1: prefixOf(), 2: rangeEnd }))
    read(answer, (field, _, bytes) => {
      if (field !== 2) return
      const { instance, key } = parse(bytes)
      if (instance !== undefined) instances.set(key, instance)
    })
  }
  return {
    register,
    registerAll: (ids) => Promise.all(ids.map(register)),
    releaseAll: () => Promise.all(leases.map((id) => etcd.call("/etcdserverpb.Lease/LeaseRevoke", message({ 1: id })))),
    firstSet: async () => {
      await readAll()
      return instances.size
    },
    follow: async (onMark) => {
      await readAll()
      let isCreated = false
      const watch = etcd.stream("/etcdserverpb.Watch/Watch", (answer) => {
        // The first answer confirms the watch. A change before it would be missed.
        if (!isCreated) onMark(instances.get(keyOf("i0"))?.metadata.mark ?? "")
        isCreated = true
        read(answer, (field, _, event) => {
          if (field !== 11) return
          read(event, (field, _, kv) => {
            if (field !== 2) return
            const { instance, key } = parse(kv)
            if (instance === undefined) return void instances.delete(key)
            instances.set(key, instance)
            if (instance.id === "i0") onMark(instance.metadata.mark)
          })
        })
      })
      watch.send(message({ 1: message({ 1: prefixOf(), 2: rangeEnd }) }))
    }
  }
}
