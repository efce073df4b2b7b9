import { describeChurn } from "./churn.ts"
import { churnClients } from "./churnClients.ts"

describeChurn("gRPC under load", churnClients)
