import { describeChurn } from "../grpc/churn.ts"
import { churnClients } from "./churnClients.ts"

describeChurn("Effect RPC under load", churnClients)
