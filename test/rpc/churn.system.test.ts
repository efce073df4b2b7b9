import { describeChurnOnEtcd } from "../grpc/churn.ts"
import { churnClients } from "./churnClients.ts"

describeChurnOnEtcd("Effect RPC under load, on etcd", churnClients)
