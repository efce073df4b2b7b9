/** npm `etcd3`: its leases, its watcher, `JSON.parse` and a plain `Map`. It gives none of this library's guarantees. */
import { Etcd3, type Lease } from "etcd3"
import { instanceValue, keyOf, type Parsed, prefixOf } from "../programs/measure.ts"
import type { Connect } from "./Contender.ts"

export const connect: Connect = ({ endpoint, ttl, typed }) => {
  const client = new Etcd3({
    hosts: endpoint.split(","),
    grpcOptions: { "grpc.max_receive_message_length": -1 }
  })
  const leases: Array<Lease> = []
  const register = (id: string) => {
    const lease = client.lease(ttl)
    leases.push(lease)
    return lease.put(keyOf(id)).value(instanceValue(id, "", typed)).exec()
  }
  const instances = new Map<string, Parsed>()
  const read = async () => {
    const { kvs } = await client.getAll().prefix(prefixOf()).exec()
    for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
  }
  return {
    register,
    registerAll: (ids) => Promise.all(ids.map(register)),
    releaseAll: () => Promise.all(leases.map((lease) => lease.revoke())),
    firstSet: async () => {
      await read()
      return instances.size
    },
    follow: async (onMark) => {
      await read()
      const watcher = await client.watch().prefix(prefixOf()).create()
      watcher.on("put", ({ key, value }) => {
        const instance: Parsed = JSON.parse(value.toString())
        instances.set(key.toString(), instance)
        if (instance.id === "i0") onMark(instance.metadata.mark)
      })
      watcher.on("delete", ({ key }) => instances.delete(key.toString()))
      onMark(instances.get(keyOf("i0"))?.metadata.mark ?? "")
    }
  }
}
