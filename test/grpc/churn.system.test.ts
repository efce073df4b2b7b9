import { describeChurnOnEtcd } from "./churn.ts"
import { churnClients } from "./churnClients.ts"

describeChurnOnEtcd("gRPC under load, on etcd", churnClients)
