/**
 * The cluster, the member and the revision that answered a request.
 *
 * @since 0.1.0
 * @category responses
 */
export interface ResponseHeader {
  readonly clusterId: bigint
  readonly memberId: bigint
  /** The revision of the store at the time of the response. */
  readonly revision: bigint
  readonly raftTerm: bigint
}
